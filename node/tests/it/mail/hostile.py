"""Sends what no mail program sends, and looks at the answers.

Usage: hostile.py PORT RECIPIENT
"""

import smtplib
import socket
import sys

port, recipient = int(sys.argv[1]), sys.argv[2]
HEAD = "From: eve@example.org\r\nMessage-ID: <{}@example.org>\r\nSubject: {}\r\n"


class Line:
    """A connection, a line at a time."""

    def __init__(self):
        self.socket = socket.create_connection(("127.0.0.1", port), timeout=60)
        self.file = self.socket.makefile("rb")
        self.expect("220")

    def say(self, text):
        self.socket.sendall(text if isinstance(text, bytes) else text.encode())

    def answer(self):
        while True:
            line = self.file.readline().decode()
            if line[3:4] != "-":
                return line

    def expect(self, code):
        answer = self.answer()
        assert answer.startswith(code), f"{answer!r} instead of {code}"
        return answer

    def ask(self, text, code):
        self.say(text)
        return self.expect(code)

    def data(self):
        self.ask("EHLO example.org\r\n", "250")
        self.ask("MAIL FROM:<eve@example.org>\r\n", "250")
        self.ask(f"RCPT TO:<{recipient}>\r\n", "250")
        self.ask("DATA\r\n", "354")


def whole(content, code):
    line = Line()
    line.data()
    line.say(content)
    answer = line.ask("\r\n.\r\n", code)
    line.ask("QUIT\r\n", "221")
    return answer


# Smuggled: what ends a mail for a careless reader ends none here, and what follows is no command.
for end in [b"\n.\n", b"\r.\r", b"\n.\r\n", b"\r\n.\n", b"\r.\n"]:
    smuggled = HEAD.format("s", "outer").encode() + b"\r\nx" + end + b"MAIL FROM:<eve@example.org>\r\n"
    smuggled += f"RCPT TO:<{recipient}>\r\nDATA\r\n".encode() + HEAD.format("t", "smuggled").encode() + b"\r\ny"
    whole(smuggled, "5")
# Commands that are none.
line = Line()
for command, code in [
    (b"EHLO\r\n", "501"), (b"MAIL FROM:<a@b>\r\n", "503"), (b"EHLO x.example\nNOOP\r\n", "500"), (b"\0\r\n", "500"), (b"EHLO x.example\r\n", "250"),
    (b"MAIL FROM:<a@b>\r\nX: y\r\n", "250"), (b"", "500"), (b"RCPT TO:<someone@elsewhere.example>\r\n", "550"),
    (b"RCPT TO:<" + b"x" * 600 + b"@b>\r\n", "500"), (b"MAIL FROM:<a@b>\r\n", "503"), (b"RSET\r\n", "250"), (b"VRFY desk\r\n", "252"),
    (b"MAIL FROM:<a@b> SIZE=99999999999\r\n", "552"), (b"MAIL FROM:<a@b> NONSENSE=1\r\n", "555"), (b"AUTH PLAIN x\r\n", "502"),
]:
    line.ask(command, code)
# A thousand mistakes end the session, and not the server.
try:
    for _ in range(1_000):
        line.ask("WHAT\r\n", "5")
    raise SystemExit("a thousand mistakes were forgiven")
except (AssertionError, OSError):
    pass
# Too many parts, too deep, too long: filed as unreadable or refused, and quickly.
HEAD_OF_PARTS = HEAD.format("parts", "parts") + "Content-Type: multipart/mixed; boundary=b\r\n\r\n"
assert whole(HEAD_OF_PARTS + "--b\r\n\r\nx\r\n" * 10_000 + "--b--\r\n", "2")
assert whole(HEAD.format("long", "long") + "X: " + "y" * (1 << 20) + "\r\n\r\nz", "2")
# Two authors: kept whole, marked.
whole("From: a@b.example, c@d.example\r\nMessage-ID: <two@example.org>\r\nSubject: two\r\n\r\ntwo authors", "250")
# Larger than may be: said so beforehand and afterwards.
line = Line()
line.data()
try:
    line.say(HEAD.format("big", "big") + "\r\n" + ("z" * 70 + "\r\n") * (12 << 20 >> 6))
    line.ask(".\r\n", "552")
except OSError:
    pass
# Fields that would become others.
with smtplib.SMTP("127.0.0.1", port, timeout=60) as client:
    client.sendmail("eve@example.org", [recipient], HEAD.format("inject", "=?utf-8?Q?a=0D=0ABcc:_victim@example.org?=") + "\r\nx")
    client.sendmail("eve@example.org", [recipient], HEAD.format("last", "the last one") + "\r\nx")
