-- All scopes of a request, decided together or not at all, by this server's clock.
--
-- KEYS[1]   the request's own mark, which makes a repeat free
-- KEYS[i+1] the state of check i
-- ARGV      command ('spend' | 'settle' | 'renew'), request id, lease seconds, mark seconds,
--           then for each check: unit, limit, amount, seed
--
-- A GCRA bucket of N per minute is one number, the theoretical arrival time in microseconds: an amount moves it by
-- amount * 60 / N seconds, and it may lie at most a minute ahead. Images in flight are a sorted set of leases by
-- expiry. Micro-dollars of a day are a counter that starts from the ledger's sum, the check's seed.
--
-- spend  -> {granted 1 | 0 | -1, index of the refusing check, wait in microseconds, ahead of each check ...}
--           -1: the counter of that check is not here and no seed was given
-- settle -> 1, or 0 when there was nothing to settle; amounts are what to give back (dollars: the difference to add)
-- renew  -> how many leases live

local MINUTE = 60000000
local time = redis.call('TIME')
local now = tonumber(time[1]) * 1000000 + tonumber(time[2])
local command, request = ARGV[1], ARGV[2]
local lease, mark = tonumber(ARGV[3]) * 1000000, tonumber(ARGV[4])
local checks = #KEYS - 1

local function check(i)
  local at = 4 + (i - 1) * 4
  return KEYS[i + 1], ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
end

local function whole(number)
  return string.format('%.0f', number)
end

local function ahead(key)
  local arrival = tonumber(redis.call('GET', key) or '0')
  return math.max(arrival - now, 0)
end

local function standings(reply)
  for i = 1, checks do
    local key, unit = check(i)
    local value = 0
    if unit ~= 'concurrent_images' and unit ~= 'usd' then value = ahead(key) end
    reply[#reply + 1] = whole(value)
  end
  return reply
end

if command == 'spend' then
  if redis.call('EXISTS', KEYS[1]) == 1 then return standings({1, 0, '0'}) end
  local worst, index = 0, 0
  for i = 1, checks do
    local key, unit, limit, amount, seed = check(i)
    local wait = 0
    if unit == 'concurrent_images' then
      redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
      if redis.call('ZCARD', key) + amount > limit then wait = 1000000 end
    elseif unit == 'usd' then
      local spent = redis.call('GET', key)
      if not spent then
        if seed < 0 then return {-1, i, '0'} end
        redis.call('SET', key, whole(seed), 'EX', 172800)
        spent = seed
      end
      if tonumber(spent) + amount > limit then wait = MINUTE end
    else
      wait = ahead(key) + amount * MINUTE / limit - MINUTE
    end
    if wait > worst then worst, index = wait, i end
  end
  if index > 0 then return standings({0, index, whole(worst)}) end
  for i = 1, checks do
    local key, unit, limit, amount = check(i)
    if unit == 'concurrent_images' then
      for image = 1, amount do redis.call('ZADD', key, now + lease, request .. ':' .. image) end
      redis.call('PEXPIRE', key, math.ceil(lease / 1000) + 1000)
    elseif unit == 'usd' then
      redis.call('INCRBY', key, whole(amount))
    else
      local arrival = now + ahead(key) + amount * MINUTE / limit
      redis.call('SET', key, whole(arrival), 'PX', math.ceil((arrival - now) / 1000) + 1000)
    end
  end
  redis.call('SET', KEYS[1], '1', 'EX', mark)
  return standings({1, 0, '0'})
end

if command == 'settle' then
  if redis.call('DEL', KEYS[1]) == 0 then return 0 end
  for i = 1, checks do
    local key, unit, limit, amount, images = check(i)
    if unit == 'concurrent_images' then
      for image = 1, images do redis.call('ZREM', key, request .. ':' .. image) end
    elseif unit == 'usd' then
      if redis.call('EXISTS', key) == 1 then redis.call('INCRBY', key, whole(amount)) end
    elseif amount > 0 and redis.call('EXISTS', key) == 1 then
      local arrival = now + ahead(key) - amount * MINUTE / limit
      if arrival <= now then
        redis.call('DEL', key)
      else
        redis.call('SET', key, whole(arrival), 'PX', math.ceil((arrival - now) / 1000) + 1000)
      end
    end
  end
  return 1
end

local living = 0
for i = 1, checks do
  local key, unit, limit, amount = check(i)
  for image = 1, amount do
    living = living + redis.call('ZADD', key, 'XX', 'CH', now + lease, request .. ':' .. image)
  end
  redis.call('PEXPIRE', key, math.ceil(lease / 1000) + 1000)
end
redis.call('EXPIRE', KEYS[1], mark)
return living
