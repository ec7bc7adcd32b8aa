"""Measures sessions and their occupancies. See scripts/bench-occupancy."""

import http.client
import json
import os
import random
import signal
import sqlite3
import statistics
import subprocess
import sys
import threading
import time
import urllib.parse
from concurrent.futures import ThreadPoolExecutor

what, url, key, count, data = sys.argv[1:6]
count = int(count)
address = urllib.parse.urlsplit(url).netloc
here = threading.local()


def ask(method, path, body=None):
    """Returns status and body of a response. Each thread has its own connection."""
    now = time.monotonic()
    if now - getattr(here, "used", -60) > 2:
        here.connection = http.client.HTTPConnection(address, timeout=120)
    here.used = now
    content = None if body is None else json.dumps(body)
    here.connection.request(method, path, content, {"x-api-key": key, "content-type": "application/json"})
    answer = here.connection.getresponse()
    content = answer.read()
    here.used = time.monotonic()
    return answer.status, json.loads(content)


def api(method, path, body=None):
    status, answer = ask(method, path, body)
    assert status == 200, (method, path, status, answer)
    return answer


def make_session():
    return api("POST", "/v1/browser_sessions", {"width": 640, "height": 480})["browser_session_id"]


def make_workflow(block):
    definition = {"title": "Bench", "workflow_definition": {"blocks": [block]}}
    return api("POST", "/v1/workflows", {"json_definition": definition})["workflow_permanent_id"]


def until(what, seconds=60):
    deadline = time.monotonic() + seconds
    while not (value := what()):
        assert time.monotonic() < deadline, f"not within {seconds} s: {what}"
        time.sleep(0.005)
    return value


# A client that holds a session, as a separate program: it begins, and sends three heartbeats in each
# lease.
HOLDER = """
import json, sys, time, urllib.request
url, key, session, ttl = sys.argv[1:]
def post(path, body):
    request = urllib.request.Request(f"{url}/v1/browser_sessions/{session}/{path}", json.dumps(body).encode(),
                                     {"x-api-key": key, "content-type": "application/json"})
    return json.load(urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request))
begun = post("begin", {"runnable_id": "doomed", "ttl_seconds": int(ttl)})
print("begun", flush=True)
while True:
    time.sleep(int(ttl) / 3)
    post("heartbeat", {"generation": begun["generation"], "lease_token": begun["lease_token"]})
"""


def lease():
    ttl, took = 3, []
    session = make_session()
    path = f"/v1/browser_sessions/{session}"
    for number in range(count):
        command = [sys.executable, "-c", HOLDER, url, key, session, str(ttl)]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as holder:
            assert holder.stdout.readline() == "begun\n"
            with ThreadPoolExecutor(1) as pool:
                body = {"runnable_id": f"next-{number}", "ttl_seconds": 60, "wait_seconds": 60}
                waiting = pool.submit(api, "POST", f"{path}/begin", body)
                until(lambda: api("GET", path)["occupancy"]["waiters"])
                time.sleep(random.uniform(0, ttl))  # At a random time between two heartbeats.
                holder.send_signal(signal.SIGKILL)
                killed = time.monotonic()
                begun = waiting.result()
                took.append(time.monotonic() - killed)
        proof = {name: begun[name] for name in ("generation", "lease_token")}
        api("POST", f"{path}/release", proof)
    shown = " ".join(f"{seconds:.2f}" for seconds in took)
    print(f"lease {ttl} s; from kill -9 until the next has begun: {shown} s; longest {max(took):.2f} s")
    assert max(took) <= ttl + 1, "longer than the lease and a second"


def runs():
    # The shortest possible run: a loop without values.
    inner = {"block_type": "wait", "label": "never", "wait_sec": 1}
    workflow = make_workflow({
        "block_type": "for_loop", "label": "none", "loop_variable_reference": "nothing",
        "complete_if_empty": True, "loop_blocks": [inner],
    })
    with ThreadPoolExecutor(5) as pool:
        sessions = list(pool.map(lambda _: make_session(), range(20)))
    each, rest = divmod(count, len(sessions))
    assert rest == 0, f"{count} runs are not the same number for each of {len(sessions)} sessions"

    def start(session):
        run = api("POST", "/v1/run/workflows", {"workflow_id": workflow, "browser_session_id": session})
        return run["run_id"]

    def end(run):
        version = 0
        while True:
            seen = api("GET", f"/v1/runs/{run}?after={version}")
            if seen["finished_at"]:
                return seen
            version = seen["version"]

    def feed(session):
        """Keeps one run active and two waiting, until all have ended; they drive in this order."""
        under_way, ended = [], []
        for number in range(each):
            under_way.append(start(session))
            if len(under_way) == 3:
                ended.append(end(under_way.pop(0)))
        return ended + [end(run) for run in under_way]

    began = time.monotonic()
    with ThreadPoolExecutor(len(sessions)) as pool:
        ended = list(pool.map(feed, sessions))
    took = time.monotonic() - began

    states, out_of_order, overlapping = {}, 0, 0
    waits = []
    for session, of_session in zip(sessions, ended):
        for run in of_session:
            states[run["status"]] = states.get(run["status"], 0) + 1
        for before, after in zip(of_session, of_session[1:]):
            out_of_order += before["started_at"] > after["started_at"]
            # A run releases its session before its end is known, so its blocks are read.
            overlapping += before["blocks"][-1]["finished_at"] > after["blocks"][0]["started_at"]
        occupancy = api("GET", f"/v1/browser_sessions/{session}")["occupancy"]
        # Each begin raises the generation: as many as runs, so no run began twice and no other client began.
        assert (occupancy["state"], occupancy["generation"]) == ("vacant", each), occupancy
    lost = count - sum(states.values())
    print(f"{count} runs over {len(sessions)} sessions, two waiting for each: {states}, {lost} lost, "
          f"{overlapping} held at once, {out_of_order} out of order; {took:.1f} s, {count / took:.0f} runs/s")
    assert states == {"completed": count} and not (lost or overlapping or out_of_order)


def processes_of(session):
    """The processes with the session's mark: `GREENROOM_SESSION`, or its directory in their arguments."""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            texts = [open(f"/proc/{pid}/{name}", "rb").read() for name in ("environ", "cmdline")]
        except OSError:
            continue
        if f"GREENROOM_SESSION={session}".encode() in texts[0] or f"sessions/{session}/".encode() in texts[1]:
            yield int(pid), texts[1].decode(errors="replace")


def debug():
    def call(workflow):
        asked = time.monotonic()
        debug = api("GET", f"/v1/debug-session/{workflow}")
        took = time.monotonic() - asked
        session = debug["browser_session_id"]
        assert api("GET", f"/v1/browser_sessions/{session}")["status"] == "running", debug
        return debug, session, took

    block = {"block_type": "wait", "label": "a", "wait_sec": 1}
    workflow = make_workflow(block)
    _, session, took = call(workflow)
    print(f"first call                  {took * 1000:5.0f} ms")

    def ended(status):
        return until(lambda: api("GET", f"/v1/browser_sessions/{session}")["status"] == status)

    def kill():
        browsers = [pid for pid, command in processes_of(session) if "--user-data-dir=" in command]
        for pid in browsers:
            os.kill(pid, signal.SIGKILL)
        ended("failed")

    def close():
        api("POST", f"/v1/browser_sessions/{session}/close")

    for name, reasons, end in (
        ("killed", ["session_failed"], kill),
        ("expired", ["expired", "session_timed_out"], lambda: ended("timeout")),
        ("closed by hand", ["session_closed"], close),
    ):
        end()
        before = session
        debug, session, took = call(workflow)
        assert session != before and debug["replaced_browser_session_id"] == before, debug
        assert debug["replaced_reason"] in reasons, debug
        print(f"next call when {name:14} {took * 1000:5.0f} ms, {debug['replaced_reason']}, another session runs")
    close()

    workflow = make_workflow(block)
    barrier = threading.Barrier(count)

    def first(_):
        barrier.wait()
        return call(workflow)

    with ThreadPoolExecutor(count) as pool:
        answers = list(pool.map(first, range(count)))
    debugs = {debug["debug_session_id"] for debug, _, _ in answers}
    made = {session for _, session, _ in answers}
    live = [one["browser_session_id"] for one in api("GET", "/v1/browser_sessions")]
    with sqlite3.connect(f"file:{data}/greenroom.db?mode=ro", uri=True) as db:
        query = "SELECT count(*) FROM debug_sessions WHERE workflow_permanent_id = ?"
        (rows,) = db.execute(query, (workflow,)).fetchone()
    slowest = max(took for _, _, took in answers)
    median = statistics.median(took for _, _, took in answers)
    print(f"{count} first calls at once: {len(debugs)} debug session, {rows} row, {len(made)} browser session; "
          f"median {median * 1000:.0f} ms, slowest {slowest * 1000:.0f} ms")
    assert (len(debugs), rows, len(made), live) == (1, 1, 1, list(made)), (debugs, rows, made, live)


{"lease": lease, "runs": runs, "debug": debug}[what]()
