-- Shows recordings of virtio-misc in Wireshark: 'virtio-misc wireshark' made this file. docs/recordings.md has the format.

-- TABLES

local virtio = Proto("virtio_misc", "virtio, as virtio-misc recorded it")

local f = {
  version = ProtoField.uint8("virtio_misc.version", "Version"),
  event = ProtoField.uint8("virtio_misc.event", "Event", base.DEC, EVENTS),
  queue = ProtoField.uint16("virtio_misc.queue", "Queue"),
  queue_name = ProtoField.string("virtio_misc.queue_name", "Queue's name"),
  connection = ProtoField.uint32("virtio_misc.connection", "Connection"),
  chain = ProtoField.uint32("virtio_misc.chain", "Chain"),
  device = ProtoField.string("virtio_misc.device", "Device"),
  id = ProtoField.uint32("virtio_misc.device_id", "Virtio id"),
  socket = ProtoField.string("virtio_misc.socket", "Socket"),
  transport = ProtoField.string("virtio_misc.transport", "Transport"),
  size = ProtoField.uint32("virtio_misc.size", "Descriptors"),
  base = ProtoField.uint32("virtio_misc.base", "Goes on from", base.HEX),
  how = ProtoField.uint32("virtio_misc.ring", "Ring", base.HEX),
  area = ProtoField.uint64("virtio_misc.area", "Area", base.HEX),
  accepted = ProtoField.uint64("virtio_misc.features.accepted", "Accepted features", base.HEX),
  offered = ProtoField.uint64("virtio_misc.features.offered", "Offered features", base.HEX),
  status = ProtoField.uint32("virtio_misc.status", "Status", base.HEX),
  offset = ProtoField.uint32("virtio_misc.config.offset", "Offset"),
  count = ProtoField.uint32("virtio_misc.count", "Count"),
  asked = ProtoField.bool("virtio_misc.asked", "A kick was asked for"),
  head = ProtoField.uint32("virtio_misc.head", "Head"),
  readable = ProtoField.uint32("virtio_misc.readable", "Readable bytes"),
  writable = ProtoField.uint32("virtio_misc.writable", "Writable bytes"),
  consumed = ProtoField.uint32("virtio_misc.consumed", "Bytes that the device read"),
  written = ProtoField.uint32("virtio_misc.written", "Bytes that the device wrote"),
  latency = ProtoField.uint64("virtio_misc.latency", "Time in the device, ns"),
  address = ProtoField.uint64("virtio_misc.descriptor.address", "Address", base.HEX),
  length = ProtoField.uint32("virtio_misc.descriptor.length", "Length"),
  writes = ProtoField.uint32("virtio_misc.descriptor.writable", "Writable"),
  rule = ProtoField.string("virtio_misc.rule", "Rule of VIRTIO 1.3"),
  text = ProtoField.string("virtio_misc.text", "Text"),
  data = ProtoField.bytes("virtio_misc.data", "Bytes"),
}

-- Shapes: how bytes are cut into fields, as text such as {type:le32,name:text(16)}.

local NUMBERS = { u8=1, s8=1, le16=2, sle16=2, be16=2, le32=4, sle32=4, be32=4, le64=8, be64=8, le64big=8, be64big=8 }
local DEPTH = 16

local function parse(text)
  local words, at, i = {}, 1, 1
  while i <= #text do
    local word = text:match("^[%w_]+", i) or text:sub(i, i)
    words[#words + 1] = word
    i = i + #word
  end
  local function take(wanted)
    local word = words[at]
    if word == nil or (wanted ~= nil and word ~= wanted) then error("no shape", 0) end
    at = at + 1
    return word
  end
  local function number()
    local word = take()
    if not word:match("^%d%d?%d?%d?%d?%d?%d?%d?%d?%d?$") then error("no shape", 0) end
    return tonumber(word)
  end
  local shape
  function shape(depth)
    if depth > DEPTH then error("no shape", 0) end
    local word = take()
    if word == "{" then
      local fields = {}
      while words[at] ~= "}" do
        if #fields > 0 then take(",") end
        local name = take()
        take(":")
        fields[#fields + 1] = { name, shape(depth + 1) }
      end
      take("}")
      return { kind = "struct", fields = fields }
    end
    if NUMBERS[word] then return { kind = "number", type = word } end
    take("(")
    local made
    if word == "bytes" or word == "text" then
      made = { kind = word, size = number() }
    elseif word == "array" then
      local element = shape(depth + 1)
      take(",")
      made = { kind = "array", element = element, count = number() }
    elseif word == "tail" then
      made = { kind = "tail", element = words[at] ~= ")" and shape(depth + 1) or nil }
    elseif word == "union" then
      local key = take()
      take(":")
      local tag = take()
      if not NUMBERS[tag] then error("no shape", 0) end
      made = { kind = "union", key = key, tag = tag, arms = {}, names = {} }
      while words[at] == "," do
        take(",")
        local name = take()
        take("=")
        local tag_value = number()
        take(":")
        made.arms[tag_value] = shape(depth + 1)
        made.names[tag_value] = name
      end
    else
      error("no shape", 0)
    end
    take(")")
    return made
  end
  local made = shape(0)
  if at <= #words then error("no shape", 0) end
  return made
end

local function shape_of(text)
  if text == "" then return nil end
  local fine, made = pcall(parse, text)
  return fine and made or nil
end

local function least(shape)
  if shape.kind == "number" then return NUMBERS[shape.type] end
  if shape.kind == "bytes" or shape.kind == "text" then return shape.size end
  if shape.kind == "array" then return shape.count * least(shape.element) end
  if shape.kind == "union" then return NUMBERS[shape.tag] end
  if shape.kind == "tail" then return 0 end
  local sum = 0
  for _, field in ipairs(shape.fields) do sum = sum + least(field[2]) end
  return sum
end

-- Fields that can be filtered by, of the devices that are known here: virtio_misc.test.print.request.type

local declared = {}

local MAKE = {
  u8 = "uint8", s8 = "int8", le16 = "uint16", sle16 = "int16", be16 = "uint16", le32 = "uint32", sle32 = "int32",
  be32 = "uint32", le64 = "uint64", be64 = "uint64", le64big = "uint64", be64big = "uint64",
}

local function field(path, name, kind, names)
  if declared[path] ~= nil then return end
  local made
  if kind == "text" then made = ProtoField.string(path, name)
  elseif kind == "bytes" then made = ProtoField.bytes(path, name)
  else made = ProtoField[MAKE[kind]](path, name, base.DEC, names) end
  declared[path] = { field = made, kind = kind }
end

local function declare(path, name, shape)
  if shape.kind == "struct" then
    for _, each in ipairs(shape.fields) do declare(path .. "." .. each[1], each[1], each[2]) end
  elseif shape.kind == "number" then field(path, name, shape.type)
  elseif shape.kind == "bytes" or shape.kind == "text" then field(path, name, shape.kind)
  elseif shape.kind == "array" then declare(path, name, shape.element)
  elseif shape.kind == "tail" then
    if shape.element then declare(path, name, shape.element) else field(path, name, "bytes") end
  elseif shape.kind == "union" then
    field(path .. "." .. shape.key, shape.key, shape.tag, shape.names)
    for _, arm in pairs(shape.arms) do declare(path, name, arm) end
  end
end

local known = {}
for id, queues in pairs(SHAPES) do
  known[id] = {}
  for name, texts in pairs(queues) do
    local both = {}
    for index, side in ipairs({ "request", "response" }) do
      local shape = shape_of(texts[index])
      if shape ~= nil then
        local path = "virtio_misc." .. NAMES[id] .. "." .. name:lower():gsub("[^%w_]", "_") .. "." .. side
        declare(path, side, shape)
        both[side] = { shape = shape, path = path, text = texts[index] }
      end
    end
    known[id][name] = both
  end
end

local all = {}
for _, each in pairs(f) do all[#all + 1] = each end
for _, each in pairs(declared) do all[#all + 1] = each.field end
virtio.fields = all

-- What is shown of text and numbers.

local SHOWN = 64
local ELEMENTS = 8

local function clean(text)
  return (text:gsub("[%c\128-\255]", function(c) return string.format("\\x%02x", c:byte()) end))
end

local function hex(range)
  local text = range:len() == 0 and "" or range:bytes():tohex(true)
  if #text > SHOWN then text = text:sub(1, SHOWN) .. "..." end
  return text
end

local function value_of(range, kind)
  if kind == "u8" then return range:uint() end
  if kind == "s8" then return range:int() end
  if kind == "le16" or kind == "le32" then return range:le_uint() end
  if kind == "sle16" or kind == "sle32" then return range:le_int() end
  if kind == "be16" or kind == "be32" then return range:uint() end
  if kind:sub(1, 2) == "le" then return range:le_uint64() end
  return range:uint64()
end

local function is_little(kind) return not kind:match("^be") end

-- Shows a part of the bytes; `state` has where it is, where it ends, and the words for the line.
local function show(shape, tvb, state, tree, path, name, words)
  local left = state.stop - state.at
  if shape.kind == "struct" then
    for index, each in ipairs(shape.fields) do
      local behind = 0
      for rest = index + 1, #shape.fields do behind = behind + least(shape.fields[rest][2]) end
      local inner = { at = state.at, stop = math.max(state.at, state.stop - behind) }
      show(each[2], tvb, inner, tree, path and (path .. "." .. each[1]), each[1], words)
      state.at = inner.at
    end
    return
  end
  if shape.kind == "union" then
    local size = NUMBERS[shape.tag]
    if left < size then error("too short", 0) end
    local range = tvb(state.at, size)
    local tag = tonumber(tostring(value_of(range, shape.tag)))
    local arm = shape.names[tag] or ("unknown(" .. tag .. ")")
    local known_field = path and declared[path .. "." .. shape.key]
    if known_field then
      if is_little(shape.tag) then tree:add_le(known_field.field, range) else tree:add(known_field.field, range) end
    else
      tree:add(range, shape.key .. ": " .. arm)
    end
    words[#words + 1] = arm
    state.at = state.at + size
    if shape.arms[tag] then show(shape.arms[tag], tvb, state, tree, path, name, words) end
    return
  end
  if shape.kind == "array" or (shape.kind == "tail" and shape.element) then
    local size = least(shape.element)
    local count = shape.kind == "array" and shape.count or (size > 0 and math.floor(left / size) or 0)
    local inner = {}
    for i = 1, count do
      if state.stop - state.at < size then error("too short", 0) end
      show(shape.element, tvb, state, tree, path, name .. "[" .. (i - 1) .. "]", inner)
      if i > 4096 then break end
    end
    local list = {}
    for i = 1, math.min(#inner, ELEMENTS) do list[i] = inner[i]:gsub("^" .. name .. "%[%d+%]=", "") end
    if #inner > ELEMENTS then list[#list + 1] = "..." end
    words[#words + 1] = name .. "=[" .. table.concat(list, " ") .. "]"
    if shape.kind == "tail" then state.at = state.stop end
    return
  end
  local size = shape.kind == "number" and NUMBERS[shape.type] or (shape.kind == "tail" and left or shape.size)
  if left < size then error("too short", 0) end
  if size == 0 then return end
  local range = tvb(state.at, size)
  local kind = shape.kind == "number" and shape.type or (shape.kind == "tail" and "bytes" or shape.kind)
  local text
  if kind == "bytes" then text = hex(range)
  elseif kind == "text" then text = '"' .. clean(range:stringz()) .. '"'
  else text = tostring(value_of(range, kind)) end
  local known_field = path and declared[path]
  if known_field and known_field.kind == kind then
    if kind == "text" then tree:add(known_field.field, range, clean(range:stringz()))
    elseif kind ~= "bytes" and is_little(kind) then tree:add_le(known_field.field, range)
    else tree:add(known_field.field, range) end
  else
    tree:add(range, name .. ": " .. text)
  end
  words[#words + 1] = name .. "=" .. text
  state.at = state.at + size
end

-- @return what the bytes stand for, in words.
local function show_bytes(side, tvb, at, length, whole, tree)
  if length == 0 then return "" end
  local range = tvb(at, length)
  local branch = tree:add(f.data, range)
  if side == nil or length < whole and least(side.shape) > length then return hex(range) end
  local words = {}
  local state = { at = at, stop = at + length }
  local fine = pcall(show, side.shape, tvb, state, branch, side.path, "value", words)
  if not fine then return hex(range) end
  if state.at < state.stop then words[#words + 1] = "+ " .. hex(tvb(state.at, state.stop - state.at)) end
  return table.concat(words, " ")
end

-- By connection: the device that it has.
local devices = {}
function virtio.init() devices = {} end

local function dissect(tvb, pinfo, tree)
  local root = tree:add(virtio, tvb())
  local at = 0
  local function bytes_of(size)
    local range = tvb(at, size)
    at = at + size
    return range
  end
  local function number(known_field)
    local range = bytes_of(4)
    if known_field then root:add_le(known_field, range) end
    return range:le_uint()
  end
  local function wide(known_field)
    local range = bytes_of(8)
    if known_field then root:add_le(known_field, range) end
    return range:le_uint64()
  end
  local function text(known_field)
    local size = number()
    if size == 0 then return "" end
    local range = bytes_of(size)
    local value = clean(range:raw())
    if known_field then root:add(known_field, range, value) end
    return value
  end

  root:add(f.version, tvb(0, 1))
  local event = tvb(1, 1):uint()
  root:add(f.event, tvb(1, 1))
  local queue = tvb(2, 2):le_uint()
  local connection = tvb(4, 4):le_uint()
  local chain = tvb(8, 4):le_uint()
  local flags = tvb(12, 4):le_uint()
  root:add_le(f.connection, tvb(4, 4))
  at = 16
  local name = EVENTS[event] or ("event " .. event)
  local words = { name }

  local function device()
    local made = { queues = {} }
    made.id = number(f.id)
    made.name = text(f.device)
    wide(f.offered)
    wide()
    text()
    local count = number()
    for index = 0, math.min(count, 65535) - 1 do
      number()
      local queue_name = text()
      local request, response = text(), text()
      local sides = (known[made.id] or {})[(queue_name:gsub("%d+$", ""))] or {}
      local function side(which, own)
        local fits = sides[which]
        if fits and (own == "" or own == fits.text) then return fits end
        local shape = shape_of(own)
        return shape and { shape = shape } or nil
      end
      made.queues[index] =
        { name = queue_name, request = side("request", request), response = side("response", response) }
    end
    devices[connection] = made
    words[#words + 1] = made.name .. " (id " .. made.id .. ")"
  end

  if name == "connected" then
    text(f.socket)
    text(f.transport)
    device()
  elseif name == "replaced" then
    device()
  end
  local current = devices[connection]
  local here = nil
  if queue ~= 0xffff then
    here = current and current.queues[queue] or { name = "queue " .. queue }
    root:add_le(f.queue, tvb(2, 2))
    root:add(f.queue_name, tvb(2, 2), here.name)
    table.insert(words, 1, here.name)
  end
  if chain ~= 0 then
    root:add_le(f.chain, tvb(8, 4))
    table.insert(words, 2, "#" .. chain)
  end
  if name == "features" then
    words[#words + 1] = "accepted 0x" .. wide(f.accepted):tohex()
    wide()
    words[#words + 1] = "of 0x" .. wide(f.offered):tohex()
    wide()
  elseif name == "status" then
    words[#words + 1] = string.format("0x%x", number(f.status))
  elseif name == "queue-started" then
    words[#words + 1] = number(f.size) .. " descriptors"
    number(f.base)
    number(f.how)
    for _ = 1, 3 do wide(f.area) end
  elseif name == "queue-stopped" then
    number(f.base)
  elseif name == "config-read" or name == "config-written" then
    words[#words + 1] = "at " .. number(f.offset)
    local size = number()
    words[#words + 1] = show_bytes(nil, tvb, at, size, size, root)
  elseif name == "config-changed" then
    local size = number()
    words[#words + 1] = show_bytes(nil, tvb, at, size, size, root)
  elseif name == "available" then
    words[#words + 1] = tostring(number(f.count))
    root:add(f.asked, tvb(12, 4), flags % 2 == 1)
  elseif name == "dropped" then
    words[#words + 1] = tostring(number(f.count))
  elseif name == "taken" then
    number(f.head)
    local readable = number(f.readable)
    local writable = number(f.writable)
    local count = number()
    for index = 1, count do
      local branch = root:add(tvb(at, 16), "Descriptor " .. index)
      branch:add_le(f.address, tvb(at, 8))
      branch:add_le(f.length, tvb(at + 8, 4))
      branch:add_le(f.writes, tvb(at + 12, 4))
      at = at + 16
    end
    local size = number()
    words[#words + 1] = show_bytes(here and here.request, tvb, at, size, readable, root)
    if readable == 0 then words[#words + 1] = "room for " .. writable end
  elseif name == "used" then
    number(f.head)
    number(f.consumed)
    local written = number(f.written)
    wide(f.latency)
    local size = number()
    words[#words + 1] = show_bytes(here and here.response, tvb, at, size, written, root)
  elseif name == "broken" then
    local rule = text(f.rule)
    words[#words + 1] = text(f.text)
  elseif name == "line" or name == "warning" or name == "gone" then
    words[#words + 1] = text(f.text)
  end
  if current then root:add(f.device, tvb(4, 4), current.name):set_generated() end
  local info = table.concat(words, " ")
  pinfo.cols.info = #info > 1000 and (info:sub(1, 1000) .. "...") or info
end

local FROM_DRIVER = {
  connected = true, gone = true, features = true, status = true, ["queue-started"] = true, ["queue-stopped"] = true,
  ["config-read"] = true, ["config-written"] = true, available = true, kicked = true, taken = true, reset = true,
  running = true, paused = true,
}

function virtio.dissector(tvb, pinfo, tree)
  pinfo.cols.protocol = "virtio"
  if tvb:len() < 16 or tvb(0, 1):uint() ~= VERSION then
    pinfo.cols.info = "no event of this version"
    return 0
  end
  local from_driver = FROM_DRIVER[EVENTS[tvb(1, 1):uint()]]
  pinfo.cols.src = from_driver and "driver" or "device"
  pinfo.cols.dst = from_driver and "device" or "driver"
  dissect(tvb, pinfo, tree)
  return tvb:len()
end

local encapsulations = wtap or wtap_encaps
DissectorTable.get("wtap_encap"):add(encapsulations and encapsulations.USER0 or 45, virtio)
