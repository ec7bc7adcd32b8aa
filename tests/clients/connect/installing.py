"""Installs the clients at their pinned versions into one directory, and finds them there."""

import os
import pathlib
import platform
import shutil
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
PINS = ("package.json", "package-lock.json", "requirements.txt")
# No client downloads a browser: each drives one that is there.
QUIET = {"PLAYWRIGHT_SKIP_BROWSER_DOWNLOAD": "1", "PUPPETEER_SKIP_DOWNLOAD": "1", "CI": "1"}
LIMIT = 1200  # The timeout of an installation, in seconds.


class Clients:
    """The directory with `node_modules`, `venv` and, for Selenium, `driver`."""

    def __init__(self, home):
        self.home = pathlib.Path(home).resolve()
        machine = {"x86_64": "x64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
        self.node = self.home / f"node_modules/node-linux-{machine}/bin/node"
        self.python = self.home / "venv/bin/python"
        # Without its script of installation, the package's own `claude` is a placeholder.
        self.hosts = {
            "claude": self.home / f"node_modules/@anthropic-ai/claude-code-linux-{machine}/claude",
            "codex": self.home / "node_modules/@openai/codex/bin/codex.js",
        }
        driver = self.home / "driver/usr/bin/chromedriver"
        self.driver = driver if driver.exists() else shutil.which("chromedriver")

    def installed(self):
        """True if what is installed was installed from the pins of this repository."""
        return self.node.exists() and self.python.exists() and all(
            (self.home / name).exists() and (self.home / name).read_bytes() == (HERE / name).read_bytes() for name in PINS
        )

    def install(self):
        self.home.mkdir(parents=True, exist_ok=True)
        (self.home / PINS[2]).unlink(missing_ok=True)
        for name in PINS[:2]:
            shutil.copyfile(HERE / name, self.home / name)
        # Stagehand 3 and 4 want different versions of a peer, and both work with either. `npm ci` of npm 11 refuses a
        # lock without the packages for other systems, which are not installed.
        npm = ["npm", "install", "--no-save", "--legacy-peer-deps", "--ignore-scripts"]
        self.run([*npm, "--no-audit", "--no-fund", "--loglevel", "error"], cwd=self.home)
        # Its programs for other systems are 100 MB.
        for path in (self.home / "node_modules/agent-browser/bin").glob("agent-browser-*"):
            if not path.name.startswith("agent-browser-linux-"):
                path.unlink()
        if not self.python.exists():
            self.run([sys.executable, "-m", "venv", self.home / "venv"])
        self.run([self.python, "-m", "pip", "install", "--quiet", "-r", HERE / "requirements.txt"])
        if self.driver is None and shutil.which("apt-get"):
            self.fetch_driver()
        # The last, because its presence says that the rest is there.
        shutil.copyfile(HERE / PINS[2], self.home / PINS[2])
        self.__init__(self.home)

    def fetch_driver(self):
        """Unpacks Debian's chromedriver, which has to have the version of the installed Chromium."""
        directory = self.home / "driver"
        directory.mkdir(exist_ok=True)
        fetched = subprocess.run(["apt-get", "download", "chromium-driver"], cwd=directory, capture_output=True, timeout=LIMIT)
        for package in directory.glob("chromium-driver_*.deb"):
            self.run(["dpkg-deb", "-x", package, directory])
            package.unlink()
        if fetched.returncode != 0:
            print("chromedriver is not installed: apt-get download chromium-driver failed", file=sys.stderr)

    def run(self, command, **options):
        subprocess.run([str(word) for word in command], check=True, timeout=LIMIT, env={**os.environ, **QUIET}, **options)

    def environment(self):
        """Returns the environment of a client: nothing of ours that it could mistake for its own."""
        return {
            "PATH": f"{self.node.parent}:{os.environ['PATH']}",
            "HOME": str(self.home),
            "GREENROOM_CLIENTS": str(self.home),
            "GREENROOM_CHROMEDRIVER": str(self.driver or ""),
            "SE_OFFLINE": "true",
            **QUIET,
        }
