-- Capacity leases and per-minute limits, each operation one atomic call. The Python twin is app/fleet/lease_table.py.
--
-- ARGV[1] operation   ARGV[2] virtual now in µs, for tests; 0 means the server's own clock   ARGV[3] key prefix
-- An offer has four keys, passed in this order:
--   until    zset  lease id -> when it expires, µs
--   bound    zset  lease id -> the largest in-flight number that its promise tolerates
--   row      hash  lease id -> "<prompt tokens still to prefill> <customer id>"
--   pending  int   sum of those prompt tokens; deleted with the last lease, so that it cannot drift
-- A customer has two: a zset of running leases (member "<until key> <lease id>" -> expiry) and a hash of debts.
-- Every key carries the same hash tag, so on a cluster they live in one slot.

local UNITS = 60000000        -- debt units per request or token; also the µs in a minute
local UNBOUNDED = 1000000     -- scheduler.fleet.UNBOUNDED
local KEEP_MS = 86400000      -- abandoned keys vanish after a day; a lease lives at most an hour without a beat
local DEBT_KEPT_MS = 120000

local operation, prefix = ARGV[1], ARGV[3]
local now = tonumber(ARGV[2])
if now == 0 then
  local time = redis.call('TIME')
  now = time[1] * 1000000 + time[2]
end

local function whole(number)
  return string.format('%.0f', number)
end

local function running_key(customer)
  return prefix .. 'customer:' .. customer .. ':running'
end

local function row_of(base, id)
  local row = redis.call('HGET', KEYS[base + 2], id)
  if not row then return 0, '' end
  local tokens, customer = string.match(row, '^(%d+) (.*)$')
  return tonumber(tokens), customer
end

local function forget(base, id)
  if redis.call('ZREM', KEYS[base], id) == 0 then return 0 end
  local tokens, customer = row_of(base, id)
  redis.call('ZREM', KEYS[base + 1], id)
  redis.call('HDEL', KEYS[base + 2], id)
  redis.call('ZREM', running_key(customer), KEYS[base] .. ' ' .. id)
  if redis.call('ZCARD', KEYS[base]) == 0 then
    redis.call('DEL', KEYS[base + 3])
  elseif tokens > 0 then
    redis.call('DECRBY', KEYS[base + 3], whole(tokens))
  end
  return 1
end

local function reap(base)
  for _, id in ipairs(redis.call('ZRANGEBYSCORE', KEYS[base], '-inf', whole(now))) do
    forget(base, id)
  end
end

local function load_of(base)
  local tightest = redis.call('ZRANGE', KEYS[base + 1], 0, 0, 'WITHSCORES')
  return redis.call('ZCARD', KEYS[base]), math.min(tonumber(tightest[2]) or UNBOUNDED, UNBOUNDED),
    tonumber(redis.call('GET', KEYS[base + 3])) or 0
end

local function write(base, id, customer, expires, bound, tokens)
  redis.call('ZADD', KEYS[base], whole(expires), id)
  redis.call('ZADD', KEYS[base + 1], bound, id)
  redis.call('HSET', KEYS[base + 2], id, whole(tokens) .. ' ' .. customer)
  redis.call('INCRBY', KEYS[base + 3], whole(tokens))
  local running = running_key(customer)
  redis.call('ZADD', running, whole(expires), KEYS[base] .. ' ' .. id)
  redis.call('PEXPIRE', running, KEEP_MS)
  for key = base, base + 3 do redis.call('PEXPIRE', KEYS[key], KEEP_MS) end
end

local function extend(base, id, expires)
  local score = redis.call('ZSCORE', KEYS[base], id)
  if not score then return false end
  if expires > tonumber(score) then
    local _, customer = row_of(base, id)
    redis.call('ZADD', KEYS[base], whole(expires), id)
    redis.call('ZADD', running_key(customer), whole(expires), KEYS[base] .. ' ' .. id)
  end
  return true
end

local function start(base, id)
  local tokens, customer = row_of(base, id)
  if tokens > 0 then
    redis.call('HSET', KEYS[base + 2], id, '0 ' .. customer)
    redis.call('DECRBY', KEYS[base + 3], whole(tokens))
  end
end

-- Debts -----------------------------------------------------------------------------------------------------------

local function drained(key, rpm, tpm)
  local saved = redis.call('HMGET', key, 'requests', 'tokens', 'at')
  local elapsed = math.max(0, now - (tonumber(saved[3]) or now))
  return math.max(0, (tonumber(saved[1]) or 0) - math.max(0, rpm) * elapsed),
    math.max(0, (tonumber(saved[2]) or 0) - math.max(0, tpm) * elapsed)
end

local function wait_of(debt, limit, cost)
  if cost > limit then return -1 end
  local excess = debt + cost * UNITS - limit * UNITS
  if excess <= 0 then return 0 end
  return math.ceil(excess / limit)
end

local function allowance_of(debt, limit)
  local reset = 0
  if limit > 0 then reset = math.ceil(debt / limit) end
  return math.floor(math.max(0, limit * UNITS - debt) / UNITS), reset
end

-- Operations ------------------------------------------------------------------------------------------------------

-- KEYS 1 running, 2 debts, then 4 per candidate
-- ARGV 4 lease, 5 customer, 6 ttl µs, 7 prefill, 8 tokens, 9 has limits, 10 rpm, 11 tpm, 12 concurrency,
--      then concurrency_max and in_flight_max per candidate
-- Answers status (1 leased, 0 denied, -1 requests, -2 tokens, -3 concurrency), index of the candidate (from 0),
-- wait µs (-1 never), remaining and reset µs of requests and of tokens, then three numbers of load per candidate.
local function admit()
  local id, customer, cost = ARGV[4], ARGV[5], tonumber(ARGV[8])
  local limited, rpm, tpm = ARGV[9] == '1', tonumber(ARGV[10]), tonumber(ARGV[11])
  local count = (#KEYS - 2) / 4
  local status, index, wait = 0, -1, 0
  local requests, tokens = 0, 0
  local loads = {}
  for candidate = 0, count - 1 do
    local base = 3 + candidate * 4
    reap(base)
    if index < 0 and redis.call('ZSCORE', KEYS[base], id) then status, index = 1, candidate end
  end
  if limited then
    requests, tokens = drained(KEYS[2], rpm, tpm)
    if index < 0 then
      wait = wait_of(requests, rpm, 1)
      if wait ~= 0 then status = -1 end
      if status == 0 then
        wait = wait_of(tokens, tpm, cost)
        if wait ~= 0 then status = -2 end
      end
      if status == 0 then
        redis.call('ZREMRANGEBYSCORE', KEYS[1], '-inf', whole(now))
        if redis.call('ZCARD', KEYS[1]) >= tonumber(ARGV[12]) then status = -3 end
      end
    end
  end
  local is_repeat = index >= 0
  for candidate = 0, count - 1 do
    local base, argument = 3 + candidate * 4, 13 + candidate * 2
    local in_flight, tolerated, pending = load_of(base)
    local bound = tonumber(ARGV[argument + 1])
    if status == 0 and in_flight < math.min(tonumber(ARGV[argument]), bound, tolerated) then
      local prefill = tonumber(ARGV[7])
      write(base, id, customer, now + tonumber(ARGV[6]), ARGV[argument + 1], prefill)
      status, index = 1, candidate
      in_flight, tolerated, pending = in_flight + 1, math.min(tolerated, bound), pending + prefill
    end
    loads[candidate + 1] = {in_flight, tolerated, pending}
  end
  if limited and status == 1 and not is_repeat then
    requests, tokens = requests + UNITS, tokens + cost * UNITS
    redis.call('HSET', KEYS[2], 'requests', whole(requests), 'tokens', whole(tokens), 'at', whole(now))
    redis.call('PEXPIRE', KEYS[2], DEBT_KEPT_MS)
  end
  local remaining_requests, reset_requests = allowance_of(requests, rpm)
  local remaining_tokens, reset_tokens = allowance_of(tokens, tpm)
  local answer = {status, index, wait, remaining_requests, reset_requests, remaining_tokens, reset_tokens}
  for _, load in ipairs(loads) do
    for _, number in ipairs(load) do answer[#answer + 1] = number end
  end
  return answer
end

-- KEYS 4 of the offer   ARGV 4 lease
local function started()
  reap(1)
  start(1, ARGV[4])
  return 1
end

-- KEYS 4 of the offer   ARGV 4 lease   Answers 1 when it was live
local function release()
  reap(1)
  return forget(1, ARGV[4])
end

-- KEYS 4 per offer   ARGV 4 ttl µs, then per offer how many leases and their ids
local function beat()
  local expires, argument = now + tonumber(ARGV[4]), 5
  for base = 1, #KEYS, 4 do
    reap(base)
    for _ = 1, tonumber(ARGV[argument]) do
      argument = argument + 1
      extend(base, ARGV[argument], expires)
    end
    argument = argument + 1
  end
  return 1
end

-- KEYS 4 per lease   ARGV from 4, five per lease: id, customer, ttl µs, in_flight_max, prefill
local function restore()
  for base = 1, #KEYS, 4 do
    local argument = 4 + (base - 1) / 4 * 5
    local id, expires, prefill = ARGV[argument], now + tonumber(ARGV[argument + 2]), tonumber(ARGV[argument + 4])
    reap(base)
    if not extend(base, id, expires) then
      write(base, id, ARGV[argument + 1], expires, ARGV[argument + 3], prefill)
    elseif prefill == 0 then
      start(base, id)
    end
  end
  return 1
end

-- KEYS 4 per offer   Answers three numbers of load per offer
local function loads()
  local answer = {}
  for base = 1, #KEYS, 4 do
    reap(base)
    local in_flight, tolerated, pending = load_of(base)
    answer[#answer + 1] = in_flight
    answer[#answer + 1] = tolerated
    answer[#answer + 1] = pending
  end
  return answer
end

local operations =
  {admit = admit, started = started, release = release, beat = beat, restore = restore, loads = loads}
return operations[operation]()
