-- All scopes of a request, decided together or not at all, by this server's clock.
--
-- KEYS[1]   the request's own mark: which spend it holds and of which day, so that a repeat is free
-- KEYS[i+1] the state of check i
-- ARGV      command ('spend' | 'settle' | 'renew'), request id, number of the spend, lease seconds, mark seconds,
--           day of the seeds, now in microseconds ('': this server's clock),
--           then for each check: unit, limit, amount that it is to hold, amount that it holds, seed
--
-- A GCRA bucket of N per minute is one number, the theoretical arrival time in microseconds: an amount moves it by
-- amount * 60 / N seconds, and it may lie at most a minute ahead. Images in flight are a sorted set of leases by
-- expiry. Micro-dollars are a hash by UTC day, each day beginning with the ledger's sum, the check's seed.
--
-- spend  -> {granted 1 | 0 | -1, index of the refusing check, wait in microseconds, ahead of each check ...}
--           -1: the counter of that check is not here and no seed of its day was given; the day stands last
-- settle -> 1, or 0 when nothing was held here (any more)
-- renew  -> how many leases live

local MINUTE, DAY = 60000000, 86400000000
local GRAIN = 1000 -- a bucket is full to the millisecond: sums of fractions must not refuse the last of N
local command, request, number = ARGV[1], ARGV[2], ARGV[3]
local lease, mark = tonumber(ARGV[4]) * 1000000, tonumber(ARGV[5])
local now = tonumber(ARGV[7])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end
local day = math.floor(now / DAY)
local checks = #KEYS - 1

local function check(i)
  local at = 7 + (i - 1) * 5
  return KEYS[i + 1], ARGV[at + 1], tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
end

local function whole(number)
  return string.format('%.0f', number)
end

local function arrive(key, arrival)
  if arrival <= now then
    redis.call('DEL', key)
  else
    redis.call('SET', key, whole(arrival), 'PX', math.ceil((arrival - now) / 1000) + 1000)
  end
end

-- A clock that went back locks nobody out for longer than a minute; the clamp is kept, or it would move with now.
local function ahead(key)
  local arrival = tonumber(redis.call('GET', key) or '0')
  if arrival > now + MINUTE then
    arrival = now + MINUTE
    arrive(key, arrival)
  end
  return math.max(arrival - now, 0)
end

-- Leases that live. One that ends later than a lease can was made before the clock went back.
local function leases(key)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  local late = redis.call('ZRANGEBYSCORE', key, '(' .. whole(now + lease), '+inf')
  for _, member in ipairs(late) do redis.call('ZADD', key, now + lease, member) end
  return redis.call('ZCARD', key)
end

local function hold(key, amount)
  for image = 1, amount do redis.call('ZADD', key, now + lease, request .. ':' .. image) end
  if amount > 0 then redis.call('PEXPIRE', key, math.ceil(lease / 1000) + 1000) end
end

local function move(key, unit, limit, amount, held)
  if unit == 'concurrent_images' then
    for image = amount + 1, held do redis.call('ZREM', key, request .. ':' .. image) end
    hold(key, amount)
  elseif unit == 'usd' then
    if redis.call('HEXISTS', key, day) == 1 then redis.call('HINCRBY', key, day, whole(amount - held)) end
  elseif amount ~= held then
    arrive(key, now + ahead(key) + (amount - held) * MINUTE / limit)
  end
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

-- 'number:day' while it holds, 'leases' when only they could be kept after a loss of data, 'over' when settled.
local found = redis.call('GET', KEYS[1])
local holding, since = string.match(found or '', '^(%d+):(%d+)$')

if command == 'spend' then
  if holding == number then return standings({1, 0, '0'}) end
  if holding then day = tonumber(since) end
  local worst, index = 0, 0
  for i = 1, checks do
    local key, unit, limit, amount, held = check(i)
    local more, wait = amount - (holding and held or 0), 0
    if unit == 'usd' then
      local spent = redis.call('HGET', key, day)
      if not spent then
        local seed = tonumber(ARGV[7 + i * 5])
        if seed < 0 or ARGV[6] ~= whole(day) then return {-1, i, whole(day)} end
        redis.call('HSET', key, day, whole(seed))
        redis.call('EXPIRE', key, 172800)
        spent = seed
      end
      if more > 0 and tonumber(spent) + more > limit then wait = math.max(1000000, (day + 1) * DAY - now) end -- a fallback's day may be over
    elseif more > 0 and unit == 'concurrent_images' then
      if leases(key) + more > limit then wait = 1000000 end
    elseif more > 0 then
      wait = ahead(key) + more * MINUTE / limit - MINUTE
      if wait <= GRAIN then wait = 0 end
    end
    if wait > worst then worst, index = wait, i end
  end
  if index > 0 then return standings({0, index, whole(worst)}) end
  for i = 1, checks do
    local key, unit, limit, amount, held = check(i)
    move(key, unit, limit, amount, holding and held or 0)
  end
  redis.call('SET', KEYS[1], number .. ':' .. whole(day), 'EX', mark)
  return standings({1, 0, '0'})
end

if command == 'settle' then
  if not found or found == 'over' then return 0 end
  if holding then day = tonumber(since) end
  for i = 1, checks do
    local key, unit, limit, amount, held = check(i)
    if holding or unit == 'concurrent_images' then move(key, unit, limit, amount, held) end
  end
  redis.call('SET', KEYS[1], 'over', 'PX', math.ceil(lease / 1000)) -- a renewal on its way must not bring it back
  return holding and 1 or 0
end

if found == 'over' then return 0 end
local living = 0
for i = 1, checks do
  local key, unit, limit, amount = check(i)
  hold(key, amount)
  living = living + amount
end
redis.call('SET', KEYS[1], found or 'leases', 'EX', mark)
return living
