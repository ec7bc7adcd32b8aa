"""Runs the code of one block against the page of a session.

    python -I runner.py FOLDER

`job.json` in the folder says what to run; it holds a secret and is removed once it is read. What came
of it is written to `result.json`. What the code prints goes to standard output. While there is a file
`held`, a person has control of the browser, and the clocks here stand still; SIGWINCH, which ends
nobody who does not know it, says that it has come or gone.
"""

import ast
import asyncio
import json
import keyword
import os
import resource
import selectors
import signal
import sys
import threading
import time
import traceback
import types

# The code as tracebacks name it.
CODE = "<code>"

# The largest file that the code may write.
LARGEST_FILE = 64 << 20


def main(folder):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)  # A write that is too long is an OSError.
    threading.Thread(target=end_with_the_server, args=(os.getppid(),), daemon=True).start()
    path = os.path.join(folder, "job.json")
    with open(path, encoding="utf-8") as file:
        job = json.load(file)
    os.unlink(path)
    os.chdir(folder)
    sys.stdout = sys.stderr = Limited(sys.stdout, job["output_bytes"])
    result = executed(job)
    text = json.dumps(result)
    if len(text) > job["output_bytes"]:
        message = f"the output has {len(text)} bytes, and at most {job['output_bytes']} are kept"
        text = json.dumps({"error": "code_output_too_large", "message": message})
    with open("result.part", "w", encoding="utf-8") as file:
        file.write(text)
    os.rename("result.part", "result.json")
    sys.stdout.flush()
    os._exit(0)  # Threads of the code and the driver of the browser end with the group.


def end_with_the_server(server):
    """A server that was killed cannot end its children."""
    while os.getppid() == server:
        time.sleep(1)
    os.killpg(0, signal.SIGKILL)


class Limited:
    """Standard output, of which the code may fill so much."""

    def __init__(self, inner, left):
        self.inner = inner
        self.left = left

    def write(self, text):
        if self.left > 0:
            self.inner.write(text[: self.left])
            self.left -= len(text)
            if self.left <= 0:
                self.inner.write("\n[the rest of what was printed is not kept]\n")
        return len(text)

    def flush(self):
        self.inner.flush()

    def isatty(self):
        return False


class Late(BaseException):
    """The time is over. No `except Exception` of the code catches it."""


class Assigned(dict):
    """What the code had assigned when it ended without a `return`."""


def executed(job):
    """What comes of the job: `{"output": …}` or `{"error": code, "message": …}`."""
    try:
        from playwright.async_api import async_playwright
    except ImportError as cause:
        return {"error": "no_playwright", "message": f"{sys.executable}: {cause}"}
    try:
        function = compiled(job)
    except SyntaxError as cause:
        place = {"line": cause.lineno, "source": line_of(job["code"], cause.lineno)}
        return {"error": "code_failed", "message": f"SyntaxError: {cause.msg}", **place}
    clock = Clock()
    loop = Loop(clock)
    # The signal then wakes the loop, which calls this.
    loop.add_signal_handler(signal.SIGWINCH, lambda: None)
    # At once, also where the code does not let the loop go on.
    signal.signal(signal.SIGWINCH, lambda *_: clock.look())
    clock.look()
    asyncio.set_event_loop(loop)
    return loop.run_until_complete(driven(job, function, async_playwright, clock))


class Clock:
    """Seconds, of which those in which a person had control are left out."""

    def __init__(self):
        self.held = os.path.abspath("held")
        # Since when it stands still, if it does, and for how long it has. One value, as the signal may
        # come between any two steps.
        self.state = (None, 0.0)
        self.left = 0.0  # Of the alarm.

    def stands(self):
        since, _ = self.state
        return since is not None

    def now(self):
        since, stood = self.state
        return (time.monotonic() if since is None else since) - stood

    def look(self):
        # One that came in between would find nothing to do, and this one would undo what it found.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGWINCH})
        self.turn()
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGWINCH})

    def turn(self):
        since, stood = self.state
        there = os.path.exists(self.held)
        if there and since is None:
            self.state = (time.monotonic(), stood)
            self.left, _ = signal.setitimer(signal.ITIMER_REAL, 0)
        elif not there and since is not None:
            self.state = (None, stood + time.monotonic() - since)
            signal.setitimer(signal.ITIMER_REAL, self.left)

    def alarm(self, seconds):
        """Sends SIGALRM in so many seconds; 0 calls it off."""
        self.left = seconds
        if not self.stands():
            signal.setitimer(signal.ITIMER_REAL, seconds)


class Loop(asyncio.SelectorEventLoop):
    """One that counts by such a clock, and sleeps while it stands still."""

    def __init__(self, clock):
        self.clock = clock
        super().__init__(Selector(clock))

    def time(self):
        return self.clock.now()


class Selector(selectors.DefaultSelector):
    def __init__(self, clock):
        super().__init__()
        self.clock = clock

    def select(self, timeout=None):
        return super().select(None if self.clock.stands() and timeout != 0 else timeout)


def compiled(job):
    """The code as an async function of the values, each line where it was written."""
    body = ast.parse(job["code"], CODE).body
    tail = ast.parse("return __assigned__(locals())").body
    names = [name for name in job["values"] if usable(name)]
    given = [ast.arg(arg=name) for name in ["page", "context", "browser", *names]]
    arguments = ast.arguments(
        posonlyargs=[], args=[], kwonlyargs=given, kw_defaults=[None] * len(given), defaults=[]
    )
    wrapper = ast.AsyncFunctionDef(
        name="code", args=arguments, body=body + tail, decorator_list=[], returns=None
    )
    wrapper.type_params = []  # Known from Python 3.12 on.
    module = ast.fix_missing_locations(ast.Module(body=[wrapper], type_ignores=[]))
    scope = {"__name__": "__code__", "__assigned__": Assigned}
    for name in ("asyncio", "datetime", "html", "json", "math", "random", "re", "time"):
        scope[name] = __import__(name)
    exec(compile(module, CODE, "exec"), scope)
    return scope["code"]


def usable(name):
    fits = name.isidentifier() and not keyword.iskeyword(name)
    return fits and name not in ("page", "context", "browser") and not name.startswith("__")


async def driven(job, function, async_playwright, clock):
    # For the driver alone, and not for what the code may start.
    os.environ["NODE_OPTIONS"] = '--require "./clock.js"'
    driver = await async_playwright().start()
    del os.environ["NODE_OPTIONS"]
    try:
        browser = await driver.chromium.connect_over_cdp(job["devtools"], timeout=30_000)
        context = browser.contexts[0] if browser.contexts else await browser.new_context()
        page = await page_of(context, job["target"])
    except Exception as cause:
        return {"error": "browser_unreachable", "message": first_line(str(cause))}
    limit_memory(job["memory_bytes"])
    values = {name: value for name, value in job["values"].items() if usable(name)}
    before = {name: as_text(value) for name, value in values.items()}
    work = function(page=page, context=context, browser=browser, **values)
    try:
        given = await in_time(work, job["seconds"], clock)
    except MemoryError as cause:
        message = f"the code took more than {job['memory_bytes'] >> 20} MB of memory"
        return {"error": "code_out_of_memory", "message": message, **place_of(job, cause)}
    except (Late, asyncio.TimeoutError, asyncio.CancelledError) as cause:
        message = f"the code did not end within {job['seconds']:g} s"
        return {"error": "timeout", "message": message, **place_of(job, cause)}
    except BaseException as cause:
        text = traceback.format_exception_only(type(cause), cause)[-1].strip()
        if str(cause) and "\n" in str(cause):  # Playwright tells a story below its first line.
            text = f"{type(cause).__name__}: {cause}"
        return {"error": "code_failed", "message": text[:4000], **place_of(job, cause)}
    if isinstance(given, Assigned):
        given = assigned(given, before)
    return {"output": json.loads(as_text(given))}


async def in_time(work, seconds, clock):
    """Ends the code by cancelling it, and if it does not listen, from outside."""
    task = asyncio.ensure_future(work)

    def late(_signal, _frame):
        raise Late()

    signal.signal(signal.SIGALRM, late)
    clock.alarm(seconds + 0.5)
    try:
        done, _ = await asyncio.wait({task}, timeout=seconds)
        if not done:
            task.cancel()
            await asyncio.wait({task}, timeout=0.4)
            if task.done() and not task.cancelled():
                task.exception()  # It was late, whatever it says.
            raise Late().with_traceback(where(task))
        return task.result()
    finally:
        clock.alarm(0)


def where(task):
    """The traceback of a task that was cancelled."""
    try:
        task.result()
    except BaseException as cause:
        return cause.__traceback__
    return None


async def page_of(context, target):
    """The tab that the blocks before worked in, or the one in view."""
    pages = context.pages
    if not pages:
        return await context.new_page()
    best, most = pages[-1], -1
    for page in pages if len(pages) > 1 else []:
        score = 0
        try:
            session = await context.new_cdp_session(page)
            info = await session.send("Target.getTargetInfo")
            await session.detach()
            if target is not None and info["targetInfo"]["targetId"] == target:
                return page
            script = "(document.visibilityState === 'visible') + 2 * document.hasFocus()"
            score = await asyncio.wait_for(page.evaluate(script), 1)
        except Exception:
            pass  # It has gone, or does not answer.
        if score >= most:
            best, most = page, score
    return best


def limit_memory(beyond):
    """Counts what is there already, and what the driver of the browser takes not at all."""
    with open("/proc/self/statm", encoding="ascii") as file:
        there = int(file.read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.setrlimit(resource.RLIMIT_AS, (there + beyond, there + beyond))
    resource.setrlimit(resource.RLIMIT_FSIZE, (LARGEST_FILE, LARGEST_FILE))


def assigned(names, before):
    """What the code has assigned or changed: values, and no tools."""
    tools = (types.ModuleType, types.FunctionType, type)
    kept = {}
    for name, value in names.items():
        if name.startswith("_") or name in ("page", "context", "browser") or isinstance(value, tools):
            continue
        if name in before and before[name] == as_text(value):
            continue
        kept[name] = value
    return kept


def as_text(value):
    def unknown(value):
        return f"Object '{type(value)}' is not JSON serializable"

    try:
        return json.dumps(value, default=unknown, allow_nan=False)
    except (TypeError, ValueError, RecursionError):
        return json.dumps(unknown(value))


def place_of(job, cause):
    """The line of the code, the innermost, that an exception came through."""
    line = None
    for frame, number in traceback.walk_tb(cause.__traceback__):
        if frame.f_code.co_filename == CODE:
            line = number
    return {"line": line, "source": line_of(job["code"], line)}


def line_of(code, number):
    lines = code.splitlines()
    return lines[number - 1].strip()[:200] if number and number <= len(lines) else None


def first_line(text):
    return text.strip().splitlines()[0] if text.strip() else "no reason was given"


main(sys.argv[1])
