"""The programs that the documents' commands need: a server, the sample site, an agent and a mail server."""

import asyncio
import os
import pathlib
import re
import secrets
import socket
import subprocess
import sys
import threading
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
PATIENCE = 60  # The longest start of a program, in seconds.


def free_port():
    """Returns a port of loopback on which nothing listens."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class Program:
    """A child that prints `listening on ADDRESS`, and whose log is a file."""

    def __init__(self, log, command, environment=None):
        self.log = log
        with open(log, "wb") as output:
            self.process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT,
                env={**os.environ, **(environment or {})},
            )
        deadline = time.monotonic() + PATIENCE
        while not (found := re.search(r"^listening on (\S+)", log.read_text(errors="replace"), re.MULTILINE)):
            if self.process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{command[0]} did not start:\n{log.read_text(errors='replace')[-2000:]}")
            time.sleep(0.05)
        self.address = found[1]

    def stop(self):
        self.process.terminate()
        try:
            self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class MailServer:
    """An SMTP server that accepts each message and drops it."""

    def __init__(self):
        self.port = free_port()
        ready = threading.Event()
        threading.Thread(target=lambda: asyncio.run(self.serve(ready)), daemon=True).start()
        ready.wait()

    async def serve(self, ready):
        server = await asyncio.start_server(self.converse, "127.0.0.1", self.port)
        ready.set()
        await server.serve_forever()

    async def converse(self, reader, writer):
        async def say(text):
            writer.write(f"{text}\r\n".encode())
            await writer.drain()

        await say("220 mail")
        body = False
        while line := (await reader.readline()).decode(errors="replace").rstrip("\r\n") or not reader.at_eof():
            if body:
                body = line != "."
                if not body:
                    await say("250 accepted")
            elif str(line).upper().startswith("DATA"):
                body = True
                await say("354 go on")
            elif str(line).upper().startswith("QUIT"):
                await say("221 bye")
                break
            else:
                await say("250 ok")
        writer.close()


class World:
    """What all documents share: one server with its keys, the sample site, an agent, a mail server."""

    def __init__(self, binary, home, python):
        self.binary, self.home, self.python = binary, home, python
        self.key, self.operator = f"documents-{secrets.token_hex(8)}", f"operator-{secrets.token_hex(8)}"
        self.programs = []
        self.embedding = f"http://127.0.0.1:{free_port()}"
        self.mail = MailServer()
        try:
            self.site = self.start("site", [binary, "demo-site", "--dir", ROOT / "demo/site", "--listen", "127.0.0.1:0"])
            token = secrets.token_hex(8)
            self.agent = self.start("agent", [python, ROOT / "tests/clients/agent.py", token])
            self.server = self.start(
                "server", [binary, "serve", "--listen", "127.0.0.1:0", "--data", home / "data"],
                {**self.settings(), "GREENROOM_BOOTSTRAP_KEY": self.key, "GREENROOM_OPERATOR_KEY": self.operator,
                 "GREENROOM_WORKFLOW__AGENT_URL": self.agent, "GREENROOM_WORKFLOW__AGENT_TOKEN": token},
            )
        except BaseException:
            self.stop()
            raise

    def settings(self):
        """Returns the settings of every server that the documents start."""
        return {
            "GREENROOM_EGRESS__ALLOW": "127.0.0.0/8,::1,localhost",
            "GREENROOM_WORKFLOW__PYTHON": str(self.python),
            "GREENROOM_WORKFLOW__ALLOWED_HOSTS": "127.0.0.1",
            # Only the pictures that a document asks for.
            "GREENROOM_WORKFLOW__BLOCK_SCREENSHOTS": "false",
            "GREENROOM_WORKFLOW__SMTP_HOST": "127.0.0.1",
            "GREENROOM_WORKFLOW__SMTP_PORT": str(self.mail.port),
            "GREENROOM_WORKFLOW__SMTP_PLAIN": "true",
            "GREENROOM_WEBHOOKS__ALLOWED_HOSTS": "127.0.0.1",
            "GREENROOM_HTTP__EMBED_ORIGINS": self.embedding,
            "GREENROOM_STOP__GRACE_SECONDS": "1",
            # Small machines run several documents at once.
            "GREENROOM_LIMITS__SPARE_MEMORY_MIB": "64",
        }

    def start(self, name, command, environment=None):
        program = Program(self.home / f"{name}.log", [str(word) for word in command], environment)
        self.programs.append(program)
        return program.address

    def stop(self):
        while self.programs:
            self.programs.pop().stop()
