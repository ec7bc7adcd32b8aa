"""Small clients of WebSocket, DevTools and RFB.

They use the standard library only, so that no other code affects the observations.
"""

import base64
import json
import os
import socket
import struct
import time
import urllib.parse

TEXT, BINARY, CLOSE, PING, PONG = 1, 2, 8, 9, 10


class Ended(Exception):
    """The peer has left, or does not answer."""


class Socket:
    """The client's side of RFC 6455. Every wait has a timeout."""

    def __init__(self, url, key, patience=10):
        parts = urllib.parse.urlsplit(url)
        nonce = base64.b64encode(os.urandom(16)).decode()
        path = parts.path + (f"?{parts.query}" if parts.query else "")
        credential = f"x-api-key: {key}\r\n" if key else ""
        request = (
            f"GET {path} HTTP/1.1\r\nHost: {parts.netloc}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            f"Sec-WebSocket-Key: {nonce}\r\nSec-WebSocket-Version: 13\r\n{credential}\r\n"
        )
        self.unread = b""
        try:
            self.socket = socket.create_connection((parts.hostname, parts.port), timeout=patience)
            self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self.socket.sendall(request.encode())
            while b"\r\n\r\n" not in self.unread:
                self._more()
        except OSError as cause:
            self.close()
            raise Ended(str(cause)) from cause
        head, self.unread = self.unread.split(b"\r\n\r\n", 1)
        if b" 101 " not in head.split(b"\r\n", 1)[0]:
            self.close()
            raise Ended(head.split(b"\r\n", 1)[0].decode(errors="replace"))

    def _more(self):
        bytes_ = self.socket.recv(65536)
        if not bytes_:
            raise Ended("the connection was closed")
        self.unread += bytes_

    def _take(self, count):
        while len(self.unread) < count:
            self._more()
        taken, self.unread = self.unread[:count], self.unread[count:]
        return taken

    def send(self, payload, kind=TEXT):
        payload = payload.encode() if isinstance(payload, str) else payload
        length = len(payload)
        if length < 126:
            head = struct.pack("!BB", 0x80 | kind, 0x80 | length)
        elif length < 65536:
            head = struct.pack("!BBH", 0x80 | kind, 0x80 | 126, length)
        else:
            head = struct.pack("!BBQ", 0x80 | kind, 0x80 | 127, length)
        mask = os.urandom(4)
        masked = bytes(byte ^ mask[index % 4] for index, byte in enumerate(payload))
        try:
            self.socket.sendall(head + mask + masked)
        except OSError as cause:
            raise Ended(str(cause)) from cause

    def receive(self, until):
        """The next complete message; `until` is a time of `time.monotonic`."""
        message = b""
        try:
            while True:
                self.socket.settimeout(max(until - time.monotonic(), 0.001))
                first, second = self._take(2)
                length = second & 0x7F
                if length == 126:
                    (length,) = struct.unpack("!H", self._take(2))
                elif length == 127:
                    (length,) = struct.unpack("!Q", self._take(8))
                payload = self._take(length)
                kind = first & 0x0F
                if kind == CLOSE:
                    raise Ended("the other side closed")
                if kind == PING:
                    self.send(payload, PONG)
                elif kind != PONG:
                    message += payload
                    if first & 0x80:
                        return message
        except OSError as cause:
            raise Ended(str(cause) or "no answer in time") from cause

    def close(self):
        if hasattr(self, "socket"):
            self.socket.close()


class Browser:
    """A browser, and its first page."""

    def __init__(self, url, key, patience=10):
        self.patience = patience
        self.last = 0
        self.session = None
        self.socket = Socket(url, key, patience)

    def call(self, method, params=None, on_page=False):
        if on_page and self.session is None:
            self._attach()
        self.last += 1
        command = {"id": self.last, "method": method, "params": params or {}}
        if on_page:
            command["sessionId"] = self.session
        self.socket.send(json.dumps(command))
        until = time.monotonic() + self.patience
        while True:
            answer = json.loads(self.socket.receive(until))
            if answer.get("id") == self.last:
                if "error" in answer:
                    raise Ended(f"{method}: {answer['error'].get('message')}")
                return answer["result"]

    def _attach(self):
        targets = self.call("Target.getTargets")["targetInfos"]
        pages = [target for target in targets if target["type"] == "page"]
        if not pages:
            raise Ended("there is no page")
        attach = {"targetId": pages[0]["targetId"], "flatten": True}
        self.session = self.call("Target.attachToTarget", attach)["sessionId"]

    def evaluate(self, script):
        """The result of a script in the first page."""
        asked = {"expression": script, "returnByValue": True, "awaitPromise": True}
        answer = self.call("Runtime.evaluate", asked, on_page=True)
        if "exceptionDetails" in answer:
            raise Ended(answer["exceptionDetails"]["text"])
        return answer["result"].get("value")

    def cookies(self):
        """The names and values of all its cookies."""
        return {cookie["name"]: cookie["value"] for cookie in self.call("Storage.getCookies")["cookies"]}

    def close(self):
        self.socket.close()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.close()


class Viewer:
    """Watches a session: RFB 3.8, without compression."""

    def __init__(self, url, key, patience=15):
        self.socket = Socket(url, key, patience)
        self.unread = b""
        until = time.monotonic() + patience
        try:
            for expected, answer in ((12, b"RFB 003.008\n"), (2, b"\1"), (4, b"\1")):
                self._read(expected, until)
                self.socket.send(answer, BINARY)
            size = self._read(24, until)
            self._read(struct.unpack("!I", size[20:24])[0], until)
        except Ended:
            self.close()
            raise
        self.size = size[0:4]

    def _read(self, count, until):
        while len(self.unread) < count:
            self.unread += self.socket.receive(until)
        taken, self.unread = self.unread[:count], self.unread[count:]
        return taken

    def look(self, patience=15):
        """Requests the whole picture; returns when a part of it has arrived."""
        self.unread = b""
        self.socket.send(b"\3\0\0\0\0\0" + self.size, BINARY)
        self._read(1, time.monotonic() + patience)
        self.unread = b""

    def close(self):
        self.socket.close()
