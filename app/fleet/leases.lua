-- Capacity leases and per-minute limits, each operation one atomic call. The Python twin is app/fleet/lease_table.py.
--
-- ARGV[1] operation   ARGV[2] virtual now in µs, for tests; 0 means the server's own clock   ARGV[3] key prefix
-- An offer has one key that is passed, and three whose names follow from it:
--   KEY           zset  lease id -> when it expires, µs
--   KEY .. BOUND  zset  lease id -> the largest in-flight number that its promise tolerates
--   KEY .. ROW    hash  lease id -> "<prompt tokens still to prefill> <that number> <customer id>"
--   KEY .. SUM    hash  what follows from the three: n leases, tightest tolerance t, prompt tokens p, and e, before
--                       which none expires. From e on all of it is counted again from the leases, so it cannot drift.
-- A customer has two: a zset of running leases (member "<KEY> <lease id>" -> expiry) and the debts as "r t at".
-- A quota that offers share has one: its debts, likewise. What runs under it follows from its offers' leases.
-- Every key carries the same hash tag, so on a cluster they live in one slot.

local BOUND, ROW, SUM = ':bound', ':row', ':sum'
local UNITS = 60000000        -- debt units per request or token; also the µs in a minute
local UNBOUNDED = 1000000     -- scheduler.fleet.UNBOUNDED
local NEVER = 9e15
local KEEP_MS = 86400000      -- abandoned keys vanish after a day; a lease lives at most an hour without a beat
local DEBT_KEPT_MS = 120000
local SPREAD = 64             -- housekeeping that may be late is done by one admission in so many

local call = redis.call
local operation, now, prefix = ARGV[1], tonumber(ARGV[2]), ARGV[3]
if now == 0 then
  local time = call('TIME')
  now = time[1] * 1000000 + time[2]
end

local function whole(number)
  return string.format('%.0f', number)
end

local function running_key(customer)
  return prefix .. 'customer:' .. customer .. ':running'
end

local function row_of(offer, id)
  local row = call('HGET', offer .. ROW, id)
  if not row then return 0, UNBOUNDED, '' end
  local tokens, bound, customer = string.match(row, '^(%d+) (%d+) (.*)$')
  return tonumber(tokens), tonumber(bound), customer
end

local function drop(offer, id, customer)
  call('ZREM', offer .. BOUND, id)
  call('HDEL', offer .. ROW, id)
  call('ZREM', running_key(customer), offer .. ' ' .. id)
end

local function save(offer, load)
  if load.n == 0 then
    call('DEL', offer .. SUM)
  else
    call('HSET', offer .. SUM, 'n', load.n, 't', load.t, 'p', whole(load.p), 'e', whole(load.e))
  end
end

local function tightest(offer)
  local first = call('ZRANGE', offer .. BOUND, 0, 0, 'WITHSCORES')
  return math.min(tonumber(first[2]) or UNBOUNDED, UNBOUNDED)
end

-- Reaps what expired and counts the rest from the leases themselves.
local function count(offer)
  for _, id in ipairs(call('ZRANGEBYSCORE', offer, '-inf', whole(now))) do
    local _, _, customer = row_of(offer, id)
    call('ZREM', offer, id)
    drop(offer, id, customer)
  end
  local load = {n = call('ZCARD', offer), t = tightest(offer), p = 0, e = NEVER}
  for _, row in ipairs(call('HVALS', offer .. ROW)) do
    load.p = load.p + tonumber(string.match(row, '^%d+'))
  end
  local soonest = call('ZRANGE', offer, 0, 0, 'WITHSCORES')
  if soonest[2] then load.e = tonumber(soonest[2]) end
  save(offer, load)
  return load
end

-- The load of an offer, dead leases not counted.
local function read(offer)
  local sum = call('HMGET', offer .. SUM, 'n', 't', 'p', 'e')
  if not sum[1] then return {n = 0, t = UNBOUNDED, p = 0, e = NEVER} end
  local load = {n = tonumber(sum[1]), t = tonumber(sum[2]), p = tonumber(sum[3]), e = tonumber(sum[4])}
  if load.e <= now then return count(offer) end
  return load
end

local function keep(offer)
  for _, key in ipairs({offer, offer .. BOUND, offer .. ROW, offer .. SUM}) do call('PEXPIRE', key, KEEP_MS) end
end

local function write(offer, load, id, lease)
  local running = running_key(lease.customer)
  call('ZADD', offer, whole(lease.expires), id)
  call('ZADD', offer .. BOUND, lease.bound, id)
  call('HSET', offer .. ROW, id, lease.tokens .. ' ' .. lease.bound .. ' ' .. lease.customer)
  call('ZADD', running, whole(lease.expires), offer .. ' ' .. id)
  local is_first = load.n == 0
  load.n, load.p = load.n + 1, load.p + tonumber(lease.tokens)
  load.t, load.e = math.min(load.t, tonumber(lease.bound)), math.min(load.e, lease.expires)
  save(offer, load)
  if is_first or now % SPREAD == 0 then
    keep(offer)
    call('PEXPIRE', running, KEEP_MS)
    call('ZREMRANGEBYSCORE', running, '-inf', whole(now))
  end
end

local function extend(offer, id, expires)
  local score = call('ZSCORE', offer, id)
  if not score then return false end
  if expires > tonumber(score) then
    local _, _, customer = row_of(offer, id)
    call('ZADD', offer, whole(expires), id)
    call('ZADD', running_key(customer), whole(expires), offer .. ' ' .. id)
  end
  return true
end

local function start(offer, load, id)
  local tokens, bound, customer = row_of(offer, id)
  if tokens > 0 then
    call('HSET', offer .. ROW, id, '0 ' .. whole(bound) .. ' ' .. customer)
    load.p = load.p - tokens
    save(offer, load)
  end
end

-- Debts -----------------------------------------------------------------------------------------------------------

local function drained(key, rpm, tpm)
  local saved = call('GET', key)
  if not saved then return 0, 0 end
  local requests, tokens, at = string.match(saved, '^(%d+) (%d+) (%d+)$')
  local elapsed = math.max(0, now - tonumber(at))
  return math.max(0, tonumber(requests) - math.max(0, rpm) * elapsed),
    math.max(0, tonumber(tokens) - math.max(0, tpm) * elapsed)
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

-- Quotas ----------------------------------------------------------------------------------------------------------

local NO_LIMIT = 100000000

-- Reads from ARGV[argument] on: how many quotas; of each its name, requests and tokens a minute and concurrency (0 for
-- no limit), how many offers share it and their keys; then for each of KEYS from first on how many it has, and which.
local function read_quotas(argument, first)
  local quotas, of = {}, {}
  for index = 1, tonumber(ARGV[argument] or 0) do
    local quota = {key = prefix .. 'quota:' .. ARGV[argument + 1], members = {}}
    quota.rpm, quota.tpm = tonumber(ARGV[argument + 2]), tonumber(ARGV[argument + 3])
    quota.concurrency = tonumber(ARGV[argument + 4])
    local members = tonumber(ARGV[argument + 5])
    for member = 1, members do quota.members[member] = ARGV[argument + 5 + member] end
    argument = argument + 5 + members
    quotas[index] = quota
  end
  if #quotas == 0 then return of end
  for at = first, #KEYS do
    argument = argument + 1
    local own = tonumber(ARGV[argument])
    of[at] = {}
    for index = 1, own do of[at][index] = quotas[tonumber(ARGV[argument + index])] end
    argument = argument + own
  end
  return of
end

local function owed_under(quota)
  local rpm = quota.rpm > 0 and quota.rpm or NO_LIMIT
  return drained(quota.key, rpm, quota.tpm > 0 and quota.tpm or NO_LIMIT)
end

local function takes(quota, cost)
  if quota.concurrency > 0 then
    local running = 0
    for _, member in ipairs(quota.members) do running = running + read(member).n end
    if running >= quota.concurrency then return false end
  end
  local requests, tokens = owed_under(quota)
  if quota.rpm > 0 and wait_of(requests, quota.rpm, 1) ~= 0 then return false end
  return quota.tpm == 0 or wait_of(tokens, quota.tpm, cost) == 0
end

local function allowed(quotas, cost)
  for _, quota in ipairs(quotas or {}) do
    if not takes(quota, cost) then return false end
  end
  return true
end

local function take(quotas, cost)
  for _, quota in ipairs(quotas or {}) do
    if quota.rpm > 0 or quota.tpm > 0 then
      local requests, tokens = owed_under(quota)
      local debts = whole(requests + UNITS) .. ' ' .. whole(tokens + cost * UNITS) .. ' ' .. whole(now)
      call('SET', quota.key, debts, 'PX', DEBT_KEPT_MS)
    end
  end
end

-- What a load is told as: where a quota is used up, nothing more is tolerated.
local function shown(load, quotas, cost)
  if allowed(quotas, cost) then return load.t end
  return math.min(load.n, load.t)
end

-- Operations ------------------------------------------------------------------------------------------------------

-- KEYS 1 running, 2 debts, then the candidates
-- ARGV 4 lease, 5 customer, 6 ttl µs, 7 prefill, 8 tokens, 9 has limits, 10 rpm, 11 tpm, 12 concurrency,
--      then concurrency_max and in_flight_max per candidate, then the quotas
-- Answers status (1 leased, 0 denied, -1 requests, -2 tokens, -3 concurrency), index of the candidate (from 0),
-- wait µs (-1 never), remaining and reset µs of requests and of tokens, then three numbers of load per candidate.
local function admit()
  local id, cost = ARGV[4], tonumber(ARGV[8])
  local limited, rpm, tpm = ARGV[9] == '1', tonumber(ARGV[10]), tonumber(ARGV[11])
  local status, index, wait = 0, -1, 0
  local requests, tokens = 0, 0
  local loads, quotas = {}, read_quotas(9 + 2 * #KEYS, 3)
  for at = 3, #KEYS do
    local load = read(KEYS[at])
    loads[at] = load
    if index < 0 and load.n > 0 and call('ZSCORE', KEYS[at], id) then status, index = 1, at - 3 end
  end
  local is_repeat = index >= 0
  if limited then
    requests, tokens = drained(KEYS[2], rpm, tpm)
    if not is_repeat then
      wait = wait_of(requests, rpm, 1)
      if wait ~= 0 then status = -1 end
      if status == 0 then
        wait = wait_of(tokens, tpm, cost)
        if wait ~= 0 then status = -2 end
      end
      if status == 0 and call('ZCOUNT', KEYS[1], '(' .. whole(now), '+inf') >= tonumber(ARGV[12]) then
        status = -3
      end
    end
  end
  for at = 3, #KEYS do
    local argument, load = 7 + at * 2, loads[at]
    local bound = tonumber(ARGV[argument + 1])
    local has_room = status == 0 and load.n < math.min(tonumber(ARGV[argument]), bound, load.t)
    if has_room and allowed(quotas[at], cost) then
      take(quotas[at], cost)
      local expires = now + tonumber(ARGV[6])
      write(KEYS[at], load, id, {customer = ARGV[5], expires = expires, bound = ARGV[argument + 1], tokens = ARGV[7]})
      status, index = 1, at - 3
    end
  end
  if limited and status == 1 and not is_repeat then
    requests, tokens = requests + UNITS, tokens + cost * UNITS
    call('SET', KEYS[2], whole(requests) .. ' ' .. whole(tokens) .. ' ' .. whole(now), 'PX', DEBT_KEPT_MS)
  end
  local remaining_requests, reset_requests = allowance_of(requests, rpm)
  local remaining_tokens, reset_tokens = allowance_of(tokens, tpm)
  local answer = {status, index, wait, remaining_requests, reset_requests, remaining_tokens, reset_tokens}
  for at = 3, #KEYS do
    local load = loads[at]
    answer[#answer + 1] = load.n
    answer[#answer + 1] = shown(load, quotas[at], cost)
    answer[#answer + 1] = load.p
  end
  return answer
end

-- KEYS 1 the offer   ARGV 4 lease
local function started()
  start(KEYS[1], read(KEYS[1]), ARGV[4])
  return 1
end

-- KEYS 1 the offer   ARGV 4 lease   Answers 1 when it was live
local function release()
  local offer, id = KEYS[1], ARGV[4]
  local load = read(offer)
  if call('ZREM', offer, id) == 0 then return 0 end
  local tokens, bound, customer = row_of(offer, id)
  drop(offer, id, customer)
  load.n, load.p = load.n - 1, load.p - tokens
  if bound <= load.t then load.t = tightest(offer) end
  save(offer, load)
  return 1
end

-- KEYS the offers   ARGV 4 ttl µs, then per offer how many leases and their ids
local function beat()
  local expires, argument = now + tonumber(ARGV[4]), 5
  for _, offer in ipairs(KEYS) do
    read(offer)
    for _ = 1, tonumber(ARGV[argument]) do
      argument = argument + 1
      extend(offer, ARGV[argument], expires)
    end
    argument = argument + 1
  end
  return 1
end

-- KEYS the offer of each lease   ARGV from 4, five per lease: id, customer, ttl µs, in_flight_max, prefill
local function restore()
  for at, offer in ipairs(KEYS) do
    local argument = 5 * at - 1
    local id, expires, tokens = ARGV[argument], now + tonumber(ARGV[argument + 2]), ARGV[argument + 4]
    local load = read(offer)
    if not extend(offer, id, expires) then
      local bound = ARGV[argument + 3]
      write(offer, load, id, {customer = ARGV[argument + 1], expires = expires, bound = bound, tokens = tokens})
    elseif tokens == '0' then
      start(offer, load, id)
    end
  end
  return 1
end

-- KEYS the offers   ARGV from 4 the quotas   Answers three numbers of load per offer
local function loads()
  local answer, quotas = {}, read_quotas(4, 1)
  for at, offer in ipairs(KEYS) do
    local load = read(offer)
    answer[#answer + 1] = load.n
    answer[#answer + 1] = shown(load, quotas[at], 1)
    answer[#answer + 1] = load.p
  end
  return answer
end

-- ARGV 4 gateway, 5 ttl µs   Answers how many gateways said so within their ttl, this one included
local function attend()
  local gateways = prefix .. 'gateways'
  call('ZADD', gateways, whole(now + tonumber(ARGV[5])), ARGV[4])
  call('ZREMRANGEBYSCORE', gateways, '-inf', whole(now))
  call('PEXPIRE', gateways, KEEP_MS)
  return call('ZCARD', gateways)
end

local operations =
  {admit = admit, started = started, release = release, beat = beat, restore = restore, loads = loads, attend = attend}
return operations[operation]()
