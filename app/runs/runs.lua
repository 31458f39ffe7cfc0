-- The runs that all gateways on this Redis know. One call is one decision.
-- KEYS[1] is a prefix with a hash tag: every key made of it lives on one node.
-- ARGV: command, now (ms), this gateway, its lease (ms), how long runs are kept, repeated, kept when free (ms), rest.
local prefix, command, now, me, lease = KEYS[1], ARGV[1], tonumber(ARGV[2]), ARGV[3], ARGV[4]
local KEPT, REPEAT, FREE = tonumber(ARGV[5]), tonumber(ARGV[6]), tonumber(ARGV[7])
local UNDELIVERED = 1e15 -- added to a time in the order of eviction: undelivered answers go last
local FIELDS = { 'id', 'caller', 'label', 'fingerprint', 'key', 'started', 'owner', 'state', 'alone', 'delivered',
  'document', 'size', 'failure' }
-- As in app/runs/protocol.py: how long a hang-up may not have been told (ms), and which part of a run's time that is.
local HELD, FIRST, LEAST, SHARE = 200, 50, 5, 0.01
local LABELS = 64 -- as there
local TOLD = 2500 -- after a loss of all data every gateway that lives has told again what it runs (ms)
local LATE = 1500 -- as there: a gateway that was not heard of for so long (ms) cannot tell who left
local BEGUN = 8 -- the first fields are written at the beginning; the others are then these
local LATER = { __index = { alone = '0', delivered = '0', document = '', size = '0', failure = '' } }

local function run_of(id) return prefix .. ':run:' .. id end
local function key_of(run) return prefix .. ':key:' .. run.caller .. ':' .. run.key end
local function same_of(run) return prefix .. ':same:' .. run.caller .. ':' .. run.fingerprint end
local function named_of(id) return prefix .. ':named:' .. id end
local function label_of(caller, label) return prefix .. ':label:' .. caller .. ':' .. label end
local function alive(owner) return redis.call('EXISTS', prefix .. ':gateway:' .. owner) == 1 end

local function load(id)
  if not id then return nil end
  local flat = redis.call('HGETALL', run_of(id))
  if #flat == 0 then return nil end
  local run = setmetatable({}, LATER)
  for i = 1, #flat, 2 do run[flat[i]] = flat[i + 1] end
  if run.state == 'running' and run.owner ~= me and not alive(run.owner) then run.state = 'unknown' end
  return run
end

local function over(run) return run.state == 'billed' or run.state == 'unknown' end

local function shown(run)
  local reply = {}
  for i, name in ipairs(FIELDS) do reply[i] = run[name] end
  return reply
end

local function claimed(run, asker)
  return run.asker ~= nil and run.asker ~= asker and tonumber(run.patience) > now and alive(run.claimer)
end

local function weigh(id, size, rank) -- the sum of what documents hold, and the order in which they would go
  local before = tonumber(redis.call('HGET', prefix .. ':sizes', id) or 0)
  redis.call('INCRBY', prefix .. ':bytes', size - before)
  if size > 0 then
    redis.call('HSET', prefix .. ':sizes', id, size)
    redis.call('ZADD', prefix .. ':kept', rank, id)
  elseif before > 0 then
    redis.call('HDEL', prefix .. ':sizes', id)
    redis.call('ZREM', prefix .. ':kept', id)
  end
end

local function rank_of(run)
  return tonumber(run.started) + (run.delivered == '1' and 0 or UNDELIVERED)
end

local function forget(run)
  if run.key == '' then
    redis.call('ZREM', same_of(run), run.id)
  elseif redis.call('GET', key_of(run)) == run.id then
    redis.call('DEL', key_of(run))
  end
  if redis.call('GET', label_of(run.caller, run.label)) == run.id then
    redis.call('DEL', label_of(run.caller, run.label))
  end
  if run.size ~= '0' then weigh(run.id, 0, 0) end
  redis.call('DEL', run_of(run.id), named_of(run.id))
end

local function write(run, first, fields)
  local left = tonumber(run.started) + KEPT - now
  if left <= 0 then return end
  local flat = {}
  for i = 1, fields do
    flat[2 * i - 1] = FIELDS[i]
    flat[2 * i] = run[FIELDS[i]]
  end
  redis.call('HSET', run_of(run.id), unpack(flat))
  redis.call('PEXPIRE', run_of(run.id), run.state == 'free' and math.min(FREE, left) or left)
  if not first or run.size ~= '0' then weigh(run.id, tonumber(run.size), rank_of(run)) end
  if not first then return end
  redis.call('SET', label_of(run.caller, run.label), run.id, 'PX', left)
  if run.key ~= '' then
    if run.state ~= 'free' or redis.call('EXISTS', key_of(run)) == 0 then
      redis.call('SET', key_of(run), run.id, 'PX', left)
    end
  else
    redis.call('ZADD', same_of(run), run.started, run.id)
    redis.call('PEXPIRE', same_of(run), REPEAT)
  end
end

local function named(asked, id) -- a repeat's label leads to the run; those of older repeats go
  local label, labels = label_of(asked.caller, asked.label), named_of(id)
  local known = redis.call('GET', label) == id
  redis.call('SET', label, id, 'PX', KEPT)
  if known then return end
  redis.call('RPUSH', labels, asked.label)
  redis.call('PEXPIRE', labels, KEPT)
  if redis.call('LLEN', labels) < LABELS then return end
  local oldest = label_of(asked.caller, redis.call('LPOP', labels))
  if redis.call('GET', oldest) == id then redis.call('DEL', oldest) end
end

local function keyed(asked)
  local found = load(redis.call('GET', key_of(asked)))
  if not found or found.state == 'free' then return nil end
  return found
end

local function unheard(run) -- of a gateway's own callers each hang-up is known at once
  if claimed(run, '') then return run.claimer == me and 0 or HELD end
  if run.owner == me or run.state ~= 'running' then return 0 end
  local ms = math.min(FIRST, (now - tonumber(run.started)) * SHARE)
  return ms >= LEAST and ms or 0
end

local function untold() -- for how long somebody may still have to tell what was lost (ms)
  return math.max(0, tonumber(redis.call('GET', prefix .. ':lost') or 0) + TOLD - now)
end

local function silent(owner) -- how long it takes at most until it is heard of, or dead (ms)
  local left = owner == me and -1 or redis.call('PTTL', prefix .. ':gateway:' .. owner)
  return (left >= 0 and left <= lease - LATE) and left + 1 or 0
end

local function repeated(asked, retry)
  local oldest = string.format('%.0f', now - REPEAT)
  local same = redis.call('ZRANGEBYSCORE', same_of(asked), oldest, '+inf')
  if #same == 0 then return nil, 0, 0 end
  redis.call('ZREMRANGEBYSCORE', same_of(asked), '-inf', '(' .. oldest)
  local waiting, held, failed
  local doubt, silence = 0, 0
  for _, id in ipairs(same) do
    local run = load(id)
    if not run then
      redis.call('ZREM', same_of(asked), id)
    elseif run.delivered ~= '1' and run.state ~= 'free' then
      if over(run) then
        failed = failed or run
      elseif not claimed(run, asked.id) then
        if run.alone == '1' then return run, 0, 0 end
        waiting = waiting or run
        doubt = math.max(doubt, unheard(run))
        if run.state == 'running' then silence = math.max(silence, silent(run.owner)) end
      else
        if tonumber(run.retry or 0) < retry then held = held or run end
        doubt = math.max(doubt, unheard(run))
        silence = math.max(silence, silent(run.claimer))
      end
    end
  end
  return (retry > 0 and waiting) or held or failed, doubt, silence
end

local function make_room(bound)
  local gone = {}
  for _, range in ipairs({ { 0, now - KEPT }, { UNDELIVERED, UNDELIVERED + now - KEPT } }) do
    local first, last = string.format('%.0f', range[1]), string.format('%.0f', range[2])
    for _, id in ipairs(redis.call('ZRANGEBYSCORE', prefix .. ':kept', first, last)) do weigh(id, 0, 0) end
  end
  while tonumber(redis.call('GET', prefix .. ':bytes') or 0) > bound do
    local id = redis.call('ZRANGE', prefix .. ':kept', 0, 0)[1]
    if not id then break end
    gone[#gone + 1] = redis.call('HGET', run_of(id), 'document') or nil
    if redis.call('EXISTS', run_of(id)) == 1 then redis.call('HSET', run_of(id), 'document', '', 'size', '0') end
    weigh(id, 0, 0)
  end
  return gone
end

local function read(at, fields)
  local run = setmetatable({}, LATER)
  for i = 1, fields do run[FIELDS[i]] = ARGV[at + i - 1] end
  return run
end

if command == 'begin' then
  local asked, retry, patience = read(8, BEGUN), tonumber(ARGV[16]), ARGV[17]
  if redis.call('GET', prefix .. ':gateway:' .. me) ~= 'heard' then return { 'unheard' } end
  redis.call('PEXPIRE', prefix .. ':gateway:' .. me, lease)
  if redis.call('EXISTS', run_of(asked.id)) == 1 then return { 'first' } end -- the reply of the first try was lost
  local found, doubt, silence
  if asked.key ~= '' then
    found = keyed(asked)
    if found and found.fingerprint ~= asked.fingerprint then return { 'reused' } end
  else
    found, doubt, silence = repeated(asked, retry)
    doubt = math.max(math.ceil(doubt - tonumber(ARGV[18])), silence)
  end
  if not found then
    doubt = math.max(doubt or 0, untold())
    if doubt > 0 then return { 'doubt', doubt } end
    write(asked, true, BEGUN)
    return { 'first' }
  end
  named(asked, found.id)
  if asked.key == '' and not over(found) then
    redis.call('HSET', run_of(found.id), 'claimer', me, 'asker', asked.id, 'retry', retry,
      'patience', patience)
  end
  return { 'found', shown(found) }
end

if command == 'put' then
  local run = read(8, #FIELDS)
  local known = redis.call('HGET', run_of(run.id), 'state')
  local first = not known
  if ARGV[22] == '1' and known then return {} end
  for _, flag in ipairs({ 'alone', 'delivered' }) do
    if redis.call('HGET', run_of(run.id), flag) == '1' then run[flag] = '1' end
  end
  if known == 'answered' and run.state ~= 'answered' then
    redis.call('HSET', run_of(run.id), 'alone', run.alone, 'delivered', run.delivered)
    return {}
  end
  write(run, first, #FIELDS)
  return make_room(tonumber(ARGV[21]))
end

if command == 'find' then
  for _, id in ipairs({ ARGV[9], redis.call('GET', label_of(ARGV[8], ARGV[9])) or nil }) do
    local run = load(id)
    if run and run.caller == ARGV[8] then return shown(run) end
  end
  return {}
end

if command == 'beat' then
  local known = redis.call('GET', prefix .. ':gateway:' .. me) == 'heard'
  redis.call('SET', prefix .. ':lost', ARGV[8] == '1' and 0 or now, 'NX') -- who only starts has lost nothing
  redis.call('SET', prefix .. ':gateway:' .. me, (known or ARGV[8] == '1') and 'heard' or 'met', 'PX', lease)
  return known and 1 or 0
end

if command == 'close' then
  redis.call('DEL', prefix .. ':gateway:' .. me)
  return 0
end

local run = load(ARGV[8])
if not run then return command == 'get' and {} or 0 end
if command == 'get' then return shown(run) end
if command == 'claimed' then return claimed(run, '') and 1 or 0 end
if command == 'forget' then forget(run) end
if command == 'alone' then redis.call('HSET', run_of(run.id), 'alone', '1') end
if command == 'release' and run.asker == ARGV[9] then
  redis.call('HDEL', run_of(run.id), 'claimer', 'asker', 'retry', 'patience')
end
if command == 'delivered' then
  local wanted = claimed(run, '')
  if wanted or run.key ~= '' or run.document ~= '' or run.alone == '1' then
    run.delivered = '1'
    redis.call('HSET', run_of(run.id), 'delivered', '1')
    if tonumber(run.size) > 0 then weigh(run.id, tonumber(run.size), rank_of(run)) end
  else
    forget(run)
  end
  return wanted and 1 or 0
end
return 0
