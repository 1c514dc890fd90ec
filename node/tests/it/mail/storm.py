"""Sends many mails by several SMTP clients at once, each until it is accepted, and says which were.

Usage: storm.py COUNT CLIENTS RECIPIENT PORT [PORT ...]

Half of the clients keep a connection and send one mail after the other; the others connect for each, and one in twenty of theirs goes by swaks. A mail
that is put off (4xx), or whose answer is lost, is sent again as it was, to the next port. Prints one line of JSON.
"""

import json
import queue
import smtplib
import subprocess
import sys
import threading
import time

count, clients, TO, ports = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3], [int(port) for port in sys.argv[4:]]
waiting: "queue.Queue[int]" = queue.Queue()
for number in range(count):
    waiting.put(number)
lock = threading.Lock()
accepted: dict[str, str] = {}
tally = {"sent": 0, "put_off": 0, "lost": 0, "refused": [], "by_swaks": 0}
FROM = "customer{}@example.org"


def mail(number):
    message_id = f"<storm-{number}@example.org>"
    body = f"Pump {number} leaks.\r\n..and a line that begins with a dot.\r\n" + "It has leaked since Monday.\r\n" * (number % 40)
    text = f"From: {FROM.format(number % 50)}\r\nTo: {TO}\r\nSubject: Pump {number}\r\nMessage-ID: {message_id}\r\n\r\n{body}"
    return message_id, text


def by_swaks(port, number, text):
    # What swaks is given whole it sends as it is, except that it wants LF.
    command = ["swaks", "--server", f"127.0.0.1:{port}", "--from", FROM.format(number % 50), "--to", TO, "--data", "-", "--hide-all", "--timeout", "60"]
    done = subprocess.run(command, input=text.replace("\r\n", "\n"), text=True, capture_output=True)
    if done.returncode == 0:
        return True
    # 22 to 28: a reply was no success; the others: no connection, or it broke.
    raise ConnectionError(f"swaks ended with {done.returncode}: {done.stderr}")


def client(which):
    connection, turn = None, which
    while True:
        try:
            number = waiting.get_nowait()
        except queue.Empty:
            break
        message_id, text = mail(number)
        while True:
            port = ports[turn % len(ports)]
            try:
                if which % 2 == 1 and number % 20 == 1:
                    by_swaks(port, number, text)
                    with lock:
                        tally["by_swaks"] += 1
                else:
                    if connection is None:
                        connection = smtplib.SMTP("127.0.0.1", port, local_hostname="client.example.org", timeout=60)
                    connection.sendmail(FROM.format(number % 50), [TO], text)
                    if which % 2 == 1:
                        connection.quit()
                        connection = None
                with lock:
                    accepted[message_id[1:-1]] = ""
                    tally["sent"] += 1
                break
            except (smtplib.SMTPResponseException, smtplib.SMTPRecipientsRefused) as error:
                codes = [code for code, _ in error.recipients.values()] if hasattr(error, "recipients") else [error.smtp_code]
                code = max(codes)
                with lock:
                    if 500 <= code < 600:
                        tally["refused"].append([number, str(error)])
                    else:
                        tally["put_off"] += 1
                if 500 <= code < 600:
                    break
            except (OSError, smtplib.SMTPException):
                with lock:
                    tally["lost"] += 1
            connection, turn = None, turn + 1
            time.sleep(0.2)
    if connection is not None:
        try:
            connection.quit()
        except (OSError, smtplib.SMTPException):
            pass


began = time.monotonic()
threads = [threading.Thread(target=client, args=(which,)) for which in range(clients)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(json.dumps({"accepted": sorted(accepted), "seconds": time.monotonic() - began, **tally}))
