"""/admin/providers: how each account and engine does, for the admin key."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from fastapi import APIRouter, Request

from app.configured import Current
from app.routes import describe
from providers.kit.breaker import State
from providers.kit.deployment import Deployment
from providers.kit.pool import Pool


@dataclass(frozen=True, slots=True, kw_only=True)
class Providers:
    """The handler and what it needs. Nothing here asks a provider anything."""

    current: Current
    pool: Pool

    def router(self) -> APIRouter:
        """One route."""
        router = APIRouter(prefix="/admin")
        router.add_api_route(
            "/providers",
            self.list,
            methods=["GET"],
            summary="Every account and engine, and how it does",
            responses=describe.ADMIN,
        )
        return router

    async def list(self, request: Request) -> dict[str, Any]:
        """Every deployment; an address is an origin, and no key is shown."""
        self.current.value.keyring.admin(request.headers)
        return {
            "data": [
                self._shown(deployment, models) for deployment, models in self.current.value.registry.deployments
            ]
        }

    def counts(self) -> dict[str, int]:
        """How many deployments are in each state of the breaker, and how many cool down."""
        reports = [self.pool.report(deployment) for deployment, _ in self.current.value.registry.deployments]
        states = Counter(report.state for report in reports)
        return {
            "total": len(reports),
            "open": states[State.OPEN],
            "half_open": states[State.HALF_OPEN],
            "cooling": sum(bool(report.cooling) for report in reports),
        }

    def _shown(self, deployment: Deployment, models: int) -> dict[str, Any]:
        report = self.pool.report(deployment)
        return {
            "name": deployment.label,
            "provider": deployment.provider.name,
            "address": deployment.address,
            "weight": deployment.weight,
            "models": models,
            "state": report.state.value,
            "in_flight": report.in_flight,
            "cooling_seconds": round(max(report.cooling.values(), default=0.0), 3),
            "cooling_models": sorted(report.cooling),
            "refused": report.refused,
            "recent": {"succeeded": report.well, "failed": report.badly, "seconds": 30},
            "last_error": report.last_error,
        }
