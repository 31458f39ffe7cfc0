"""The secret that signs links and peppers key hashes."""

from __future__ import annotations

import contextlib
import os
import secrets

from app.settings import Settings, SettingsError


def signing_secrets(settings: Settings) -> list[bytes]:
    """PINHOLE_SECRET, or 32 random bytes kept in the data folder for its owner alone."""
    if settings.secret:
        return [secret.encode() for secret in settings.secret]
    path = settings.data_dir / "secret"
    try:
        settings.data_dir.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            fresh = secrets.token_bytes(32)
            with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
                file.write(fresh)
        return [path.read_bytes()]
    except OSError as error:
        raise SettingsError(
            f"PINHOLE_DATA_DIR {settings.data_dir} cannot be written ({error.strerror}). "
            "Choose another folder, or set PINHOLE_SECRET."
        ) from None
