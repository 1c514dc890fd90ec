"""Verifies a journal, from JOURNAL.md alone: python3 journal.py DIRECTORY [--quiet]. Standard library only."""
import os, sys
from hashlib import sha256
from struct import unpack_from

class Bad(Exception):
    pass

def digest(*parts):
    return sha256(b"".join(parts)).digest()

def check(condition, what):
    if not condition:
        raise Bad(what)

def envelope(data, index, term):
    """What of an entry's data enters the chain, and how many slots are whole and emptied."""
    check(len(data) >= 16 and data[8] in (1, 2) and data[9] == 0, "no envelope")
    count, fixed = unpack_from("<HI", data, 10)
    place, parts, slots = 16 + fixed, [b"\x01", data[8:16 + fixed]], [0, 0]
    check(place <= len(data), "fixed part cut off")
    for _ in range(count):
        check(place + 4 <= len(data) and data[place] in (0, 1), "no slot")
        length = int.from_bytes(data[place + 1:place + 4], "little")
        body = data[place + 4:place + 4 + max(16 + length, 32)]
        check(len(body) == max(16 + length, 32), "slot cut off")
        used = 32 if data[place] else 16 + length
        check(not any(body[used:]), "unused bytes of a slot are not zero")
        parts += [data[place + 1:place + 4], body[:32] if data[place] else digest(body[:used])]
        slots[data[place]] += 1
        place += 4 + len(body)
    check(place == len(data), "bytes after the last slot")
    decisions = [bytes(8)] + [digest(bytes([2, d]), index.to_bytes(8, "little"), term.to_bytes(8, "little"))[:8] for d in (1, 2)]
    return digest(*parts), slots, decisions.index(data[:8]) if data[:8] in decisions else None

def record(segment, data, at, chain):
    """Kind, flags, payload and size of the record at this offset, or None where nothing was written."""
    if not any(data[at:at + 16]):
        check(not any(data[at:]), "bytes after the last record")
        return None
    check(at + 16 <= len(data) and sound(segment, data, at), "record header does not match its check")
    n = unpack_from("<I", data, at)[0]
    p = (n + 7) // 8 * 8
    check(at + 48 + p <= len(data), "record cut off")
    payload = data[at + 16:at + 16 + n]
    content, about = digest(payload), None
    if data[at + 4] == 1 and n > 17 and payload[16] == 0:
        about = envelope(payload[17:], *unpack_from("<QQ", payload))
        content = payload[:17] + about[0]
    link = digest(chain, data[at:at + 8], content)
    check(not any(data[at + 16 + n:at + 16 + p]) and link == data[at + 16 + p:at + 48 + p], "chain broken")
    return data[at + 4], payload, 48 + p, link, about

def sound(segment, data, at):
    where = segment.to_bytes(8, "little") + at.to_bytes(8, "little")
    return data[at + 4] != 0 and data[at + 8:at + 16] == digest(where, data[at:at + 8])[:8]

def durable_after(segment, data, at):
    starts = range((at // 8 + 1) * 8, len(data) - 15, 8)
    return any(data[s + 5] & 1 and sound(segment, data, s) for s in starts)

def verify(directory, say):
    names = sorted(name for name in os.listdir(directory) if name.startswith("journal-") and name[8:].isdigit())
    chain, heads = bytes(32), [bytes(32)]  # heads[i]: chain over the proposals up to entry i
    for segment, name in enumerate(names, 1):
        data, at = open(os.path.join(directory, name), "rb").read(), 0
        try:
            check(name == "journal-%010d" % segment, "a segment is missing before this one")
            header = data[:136]
            check(len(header) == 136 and header[:8] == b"CAPSJRNL" and header[96:104] == digest(header[:96], header[104:])[:8], "header")
            version, _, _, number, next_index = unpack_from("<HIHQQ", header, 8)
            check((version, number, next_index, header[104:]) == (2, segment, len(heads), chain), "segment does not continue")
            at = 136
            while at < len(data) and (found := record(segment, data, at, chain)):
                kind, payload, size, chain, about = found
                if kind not in (1, 2, 3, 4) or about and about[2] is None:
                    raise Bad("a whole record makes no sense", "damage wherever it stands")
                if kind == 1:
                    index, term = unpack_from("<QQ", payload)
                    check(1 <= index <= len(heads), "entry does not follow")
                    head = digest(heads[index - 1], index.to_bytes(8, "little"), about[0]) if about else heads[index - 1]
                    heads[index:] = [head]
                    slots = "" if not about else " slots %d emptied %d decision %d" % (about[1][0], about[1][1], about[2])
                    say("entry %d term %d kind %d bytes %d%s" % (index, term, payload[16], len(payload) - 17, slots))
                at += size
        except Bad as bad:
            if len(bad.args) == 1 and segment == len(names) and not durable_after(segment, data, at):
                print("torn %s %d" % (name, at))
                break
            print("bad %s %d: %s" % (name, at, bad.args[0]))
            return 1
    print("head %d %s" % (len(heads) - 1, heads[-1].hex()))
    return 0

if __name__ == "__main__":
    sys.exit(verify(sys.argv[1], (lambda line: None) if "--quiet" in sys.argv else print))
