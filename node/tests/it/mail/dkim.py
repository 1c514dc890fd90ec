"""Verifies the DKIM signature (RFC 6376, rsa-sha256, relaxed/relaxed) of a mail on standard input, with nothing but the standard library.

dkim.py MODULUS_HEX
"""

import base64
import hashlib
import re
import sys

modulus = int(sys.argv[1], 16)
raw = sys.stdin.buffer.read().replace(b"\r\n", b"\n").replace(b"\n", b"\r\n")
head, body = raw.split(b"\r\n\r\n", 1)
fields = re.split(rb"\r\n(?![ \t])", head)


def relaxed(field):
    name, value = field.split(b":", 1)
    value = re.sub(rb"[ \t]+", b" ", value.replace(b"\r\n", b"")).strip()
    return name.strip().lower() + b":" + value


def relaxed_body(text):
    lines = [re.sub(rb"[ \t]+", b" ", line).rstrip(b" ") for line in text.split(b"\r\n")]
    while lines and not lines[-1]:
        lines.pop()
    return b"".join(line + b"\r\n" for line in lines)


signature = next(field for field in fields if field.lower().startswith(b"dkim-signature:"))
value = relaxed(signature).split(b":", 1)[1]
tags = dict(part.strip().split(b"=", 1) for part in value.split(b";") if part.strip())
assert tags[b"a"] == b"rsa-sha256" and tags[b"c"] == b"relaxed/relaxed", tags
assert tags[b"s"] == b"s1", tags

body_hash = base64.b64encode(hashlib.sha256(relaxed_body(body)).digest())
assert body_hash == tags[b"bh"].replace(b" ", b""), (body_hash, tags[b"bh"])

left = list(fields)
signed = b""
for name in tags[b"h"].split(b":"):
    name = name.strip().lower()
    # Of several fields of one name the last is signed first (section 5.4.2).
    for place in range(len(left) - 1, -1, -1):
        if left[place].split(b":", 1)[0].strip().lower() == name:
            signed += relaxed(left.pop(place)) + b"\r\n"
            break
signed += re.sub(rb"(\bb=)[^;]*", rb"\1", relaxed(signature))
digest = hashlib.sha256(signed).digest()

number = pow(int.from_bytes(base64.b64decode(tags[b"b"].replace(b" ", b"")), "big"), 65537, modulus)
size = (modulus.bit_length() + 7) // 8
info = bytes.fromhex("3031300d060960864801650304020105000420")
expected = b"\x00\x01" + b"\xff" * (size - 3 - len(info) - len(digest)) + b"\x00" + info + digest
assert number.to_bytes(size, "big") == expected, "the signature is not of this mail"
print(tags[b"d"].decode(), tags[b"h"].decode().lower())
