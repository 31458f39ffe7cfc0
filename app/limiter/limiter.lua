-- All scopes of a request, decided together or not at all, by this server's clock.
--
-- KEYS[1]   the request's own mark: which spend it holds and of which day, so that a repeat is free
-- KEYS[i+1] scope i; its state is in keys that begin with this one:
--             :rate    a hash of GCRA buckets, one for each unit per minute. A bucket of N is one number, the theoretical
--                      arrival time in microseconds: an amount moves it by amount * 60 / N seconds, and it may lie at
--                      most a minute ahead
--             :leases  images in flight: a sorted set by the expiry of each
--             :usd     micro-dollars: a hash by UTC day, each day beginning with the ledger's sum, the scope's seed
-- ARGV      command ('spend' | 'settle' | 'renew'), lease seconds, mark seconds, request id, number of the spend,
--           now in microseconds ('': this server's clock), day of the seeds, seeds (with commas between, '' none),
--           what the request is to hold and what it holds (requests, images, megapixels, images in flight,
--           micro-dollars each), then for each scope whose it is ('both', 'new': it holds nothing there yet, 'old': it
--           is to hold nothing there), and the scope's limits in that order ('': none)
--
-- spend  -> granted (1 | 0), refusing scope, refusing unit, wait in microseconds, ahead of each bucket in force of
--           scopes that are not left ...
--           or -1, the day, and the scopes whose money is not known here and came without a seed of that day
-- settle -> 1, or 0 when nothing was held here (any more), or 2 when it holds another spend than this one ('0': any)
-- renew  -> how many leases live

local MINUTE, DAY = 60000000, 86400000000
local GRAIN = 1000 -- a bucket is full to the millisecond: sums of fractions must not refuse the last of N
local FLYING, USD, UNITS, HEAD = 4, 5, 5, 18
local NOTHING = { 0, 0, 0, 0, 0 }
local command, request, number = ARGV[1], ARGV[4], ARGV[5]
local lease, mark = tonumber(ARGV[2]) * 1000000, ARGV[3]
local now = tonumber(ARGV[6])
if not now then
  local time = redis.call('TIME')
  now = tonumber(time[1]) * 1000000 + tonumber(time[2])
end
local day = math.floor(now / DAY)

local function whole(number)
  return string.format('%.0f', number)
end

local function amounts(first)
  local found = {}
  for unit = 1, UNITS do found[unit] = tonumber(ARGV[first + unit]) end
  return found
end

-- How far each bucket lies ahead. A clock that went back locks nobody out for longer than a minute.
local function read(scope)
  local found = redis.call('HMGET', scope.key .. ':rate', 1, 2, 3)
  for unit = 1, 3 do
    local late = tonumber(found[unit] or 0) - now
    scope.clamped = scope.clamped or late > MINUTE
    scope.ahead[unit] = math.min(math.max(late, 0), MINUTE)
  end
end

local function write(scope)
  local longest = math.max(scope.ahead[1], scope.ahead[2], scope.ahead[3])
  if longest <= 0 then return redis.call('DEL', scope.key .. ':rate') end
  local ahead = scope.ahead
  redis.call('HSET', scope.key .. ':rate', 1, whole(now + ahead[1]), 2, whole(now + ahead[2]), 3, whole(now + ahead[3]))
  redis.call('PEXPIRE', scope.key .. ':rate', math.ceil(longest / 1000) + 1000)
end

-- Every scope with its limits, what the request is to hold and what it holds.
local function scopes(want, held)
  local found = {}
  for i = 1, #KEYS - 1 do
    local at = HEAD + (i - 1) * (UNITS + 1) + 1
    local scope = { key = KEYS[i + 1], limits = {}, ahead = {} }
    scope.want = ARGV[at] == 'old' and NOTHING or want
    scope.held = ARGV[at] == 'new' and NOTHING or held
    for unit = 1, UNITS do scope.limits[unit] = tonumber(ARGV[at + unit]) end
    scope.rated = scope.limits[1] or scope.limits[2] or scope.limits[3]
    if scope.rated and command ~= 'renew' then read(scope) end
    found[i] = scope
  end
  return found
end

-- Leases that live. One that ends later than a lease can was made before the clock went back.
local function clean(key)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now)
  local late = redis.call('ZRANGEBYSCORE', key, '(' .. whole(now + lease), '+inf')
  for _, member in ipairs(late) do redis.call('ZADD', key, whole(now + lease), member) end
end

local function hold(scope)
  local key, leases = scope.key .. ':leases', {}
  if scope.want[FLYING] <= 0 then return end
  for image = 1, scope.want[FLYING] do
    leases[#leases + 1] = whole(now + lease)
    leases[#leases + 1] = request .. ':' .. image
  end
  redis.call('ZADD', key, unpack(leases))
  redis.call('PEXPIRE', key, math.ceil(lease / 1000) + 1000)
end

local function let_go(scope)
  local leases = {}
  for image = scope.want[FLYING] + 1, scope.held[FLYING] do leases[#leases + 1] = request .. ':' .. image end
  if #leases > 0 then redis.call('ZREM', scope.key .. ':leases', unpack(leases)) end
end

-- From what the request holds to what it is to hold.
local function move(scope, bought)
  local want, held, changed = scope.want, scope.held, scope.clamped
  for unit = 1, 3 do
    local limit, more = scope.limits[unit], want[unit] - held[unit]
    if limit and more ~= 0 and bought then
      scope.ahead[unit] = math.max(0, scope.ahead[unit] + more * MINUTE / limit)
      changed = true
    end
  end
  if changed then write(scope) end
  if scope.limits[FLYING] then
    let_go(scope)
    hold(scope)
  end
  local cost, key = want[USD] - held[USD], scope.key .. ':usd'
  if scope.limits[USD] and cost ~= 0 and bought and redis.call('HEXISTS', key, day) == 1 then
    redis.call('HINCRBY', key, day, whole(cost))
  end
end

-- What is spent of the day; from its seed where nobody has asked yet; nil without one.
local function spent(scope, i)
  local key = scope.key .. ':usd'
  local found = redis.call('HGET', key, day)
  if found then return tonumber(found) end
  local seeds = {}
  for seed in string.gmatch(ARGV[8], '[^,]+') do seeds[#seeds + 1] = seed end
  if ARGV[7] ~= whole(day) or not seeds[i] or seeds[i] == '-' then return nil end
  redis.call('HSET', key, day, seeds[i])
  redis.call('EXPIRE', key, 172800)
  return tonumber(seeds[i])
end

-- How long until a unit of a scope fits; 0 now; nil when its money is not known here.
local function wait(scope, i, unit)
  local limit, more = scope.limits[unit], scope.want[unit] - scope.held[unit]
  if more <= 0 then return 0 end
  if unit == USD then
    local before = spent(scope, i)
    if not before then return nil end
    return before + more > limit and math.max(1000000, (day + 1) * DAY - now) or 0 -- a fallback's day may be over
  end
  if unit == FLYING then
    local key = scope.key .. ':leases'
    if redis.call('ZCARD', key) + more <= limit then return 0 end
    clean(key)
    return redis.call('ZCARD', key) + more > limit and 1000000 or 0
  end
  local found = scope.ahead[unit] + more * MINUTE / limit - MINUTE
  return found > GRAIN and found or 0
end

local function told(reply, all)
  for _, scope in ipairs(all) do
    for unit = 1, 3 do
      if scope.limits[unit] and scope.want ~= NOTHING then reply[#reply + 1] = whole(scope.ahead[unit]) end
    end
  end
  return table.concat(reply, ' ')
end

-- 'number:day' while it holds, 'leases' when only they could be kept after a loss of data, 'over' when settled.
local found = redis.call('GET', KEYS[1])
local holding, since = string.match(found or '', '^(%d+):(%d+)$')
local want, held = amounts(8), amounts(13)
if holding then day = tonumber(since) end

if command == 'spend' then
  local all = scopes(want, holding and held or NOTHING)
  if holding == number then return told({ 1, 0, 0, 0 }, all) end
  if found == 'over' then return told({ 1, 0, 0, 0 }, all) end -- it came late, and nobody listens any more
  local worst, refusing, refused, unknown = 0, 0, 0, {}
  for i, scope in ipairs(all) do
    for unit = 1, UNITS do
      local seconds = 0
      if scope.limits[unit] then seconds = wait(scope, i, unit) end
      if not seconds then
        unknown[#unknown + 1] = i
      elseif seconds > worst then
        worst, refusing, refused = seconds, i, unit
      end
    end
  end
  if #unknown > 0 then return table.concat({ -1, whole(day), unpack(unknown) }, ' ') end
  if worst > 0 then
    for _, scope in ipairs(all) do if scope.clamped then write(scope) end end
    return told({ 0, refusing, refused, whole(math.ceil(worst)) }, all)
  end
  for _, scope in ipairs(all) do move(scope, true) end
  redis.call('SET', KEYS[1], number .. ':' .. whole(day), 'EX', mark)
  return told({ 1, 0, 0, 0 }, all)
end

if command == 'settle' then
  if holding and number ~= '0' and holding ~= number then return 2 end
  redis.call('SET', KEYS[1], 'over', 'PX', math.ceil(lease / 1000)) -- what is still on its way must not bring it back
  if not found or found == 'over' then return 0 end
  for _, scope in ipairs(scopes(want, held)) do move(scope, holding) end
  return holding and 1 or 0
end

if found == 'over' then return 0 end
local living = 0
for _, scope in ipairs(scopes(want, held)) do
  if scope.limits[FLYING] then
    clean(scope.key .. ':leases')
    hold(scope)
    living = living + scope.want[FLYING]
  end
end
redis.call('SET', KEYS[1], found or 'leases', 'EX', mark)
return living
