"""Uses sessions and workflows with the public Python SDK.

    skyvern_sdk.py SERVER KEY SITE

Prints its observations as JSON.
"""

import asyncio
import json
import sys
import time

from skyvern import Skyvern
from skyvern.client import Skyvern as Client
from skyvern.client.core.api_error import ApiError
from skyvern.library import skyvern as library
from skyvern.client.errors import BadRequestError, ForbiddenError, NotFoundError, UnprocessableEntityError

server, key, site = sys.argv[1:]
client = Client(base_url=server, api_key=key)
seen = {"version": client.get_version()["version"]}


def refused(kind, call, *arguments, **named):
    """The body of the refusal. Asserts its kind, and that it is not empty."""
    try:
        call(*arguments, **named)
    except kind as refusal:
        assert refusal.body and refusal.body["detail"], refusal
        return refusal.body["code"]
    raise AssertionError(f"{call.__name__} was not refused")


def until(run_id, *statuses):
    deadline = time.monotonic() + 60
    while (run := client.get_run(run_id)).status not in statuses:
        assert time.monotonic() < deadline, run
        time.sleep(0.05)
    return run


# Sessions.
session = client.create_browser_session(url=f"{site}/products.html", timeout=10)
identity = session.browser_session_id
assert session.status == "running" and session.browser_address and session.vnc_streaming_supported, session
assert client.get_browser_session(identity).stream_transport == "vnc"
assert [one.browser_session_id for one in client.get_browser_sessions()] == [identity]
longer = client.extend_browser_session(identity, additional_minutes=20)
assert session.timeout == 10 and longer.timeout in (30, 31) and longer.warning is None, longer
assert client.extend_browser_session(identity, additional_minutes=1000).warning

# Workflows, with a block that the SDK does not know.
definition = {
    "title": "Shop",
    "workflow_definition": {
        "parameters": [
            {"parameter_type": "workflow", "key": "query", "workflow_parameter_type": "string"},
            {"parameter_type": "workflow", "key": "site", "workflow_parameter_type": "string"},
        ],
        "blocks": [
            {"block_type": "goto_url", "label": "open", "url": "{{ site }}/products.html"},
            {"block_type": "fill", "label": "search", "selector": "#query", "value": "{{ query }}"},
            {"block_type": "click", "label": "go", "selector": "#go"},
            {"block_type": "wait", "label": "settle", "wait_sec": 1},
            {"block_type": "extract", "label": "read", "fields": {"count": "#count"}},
        ],
    },
}
workflow = client.create_workflow(json_definition=definition)
permanent = workflow.workflow_permanent_id
assert workflow.version == 1 and len(workflow.workflow_definition.blocks) == 5, workflow
again = client.update_workflow(permanent, json_definition=dict(definition, title="Shop, again"))
assert (again.version, again.title) == (2, "Shop, again"), again
assert client.get_workflow(permanent).version == 2
assert [one.version for one in client.get_workflow_versions(permanent)] == [2, 1]
assert [one.workflow_permanent_id for one in client.get_workflows(search_key="Shop")] == [permanent]
yaml = "title: Long\nworkflow_definition:\n  blocks:\n    - block_type: wait\n      label: rest\n      wait_sec: 600\n"
long = client.create_workflow(yaml_definition=yaml).workflow_permanent_id

# A run on the session: started, waited for, its outputs read.
values = {"query": "lamp", "site": site}
run = client.run_workflow(agent_id=permanent, parameters=values, browser_session_id=identity)
assert run.run_type == "workflow_run", run
run = until(run.run_id, "completed", "failed", "terminated", "timed_out")
assert run.status == "completed" and run.browser_session_id == identity, run
seen["output"] = run.output
timeline = client.get_run_timeline(run.run_id)
seen["blocks"] = [entry.block.label for entry in reversed(timeline)]
seen["artifacts"] = sorted({artifact.artifact_type for artifact in client.get_run_artifacts(run.run_id)})

# One of two runs holds the session and the other waits; both are canceled.
holder = until(client.run_workflow(agent_id=long, browser_session_id=identity).run_id, "running")
waiter = until(client.run_workflow(agent_id=long, browser_session_id=identity).run_id, "queued")
assert client.get_browser_session(identity).runnable_id == holder.run_id
client.cancel_run(holder.run_id)
until(waiter.run_id, "running")
bulk = client.bulk_cancel_runs(run_ids=[waiter.run_id, "wr_1"])
assert (bulk.cancelled, bulk.failed) == ([waiter.run_id], ["wr_1"]), bulk
seen["canceled"] = [until(one.run_id, "canceled").status for one in (holder, waiter)]
assert client.get_browser_session(identity).runnable_id is None

# Lists, and a run again.
assert client.get_runs_v2(page_size=10)[0].run_id == waiter.run_id
assert len(client.get_workflow_runs(page_size=10)) == 3
assert [one.workflow_run_id for one in client.get_workflow_runs_by_id(permanent)] == [run.run_id]
retried = client.retry_workflow_run(run.run_id)
assert until(retried.run_id, "completed", "failed").status == "completed", retried


# The upper layer: it waits by itself, and is strict about statuses and types.
async def wait_for_completion():
    library.DEFAULT_AGENT_HEARTBEAT_INTERVAL = 0.1
    async with asyncio.timeout(60):
        ended = await Skyvern(api_key=key, base_url=server).run_workflow(
            permanent, parameters=values, browser_session_id=identity, wait_for_completion=True
        )
    return ended.status


seen["waited"] = asyncio.run(wait_for_completion())

# Refusals have a reason.
seen["refused"] = [
    refused(ForbiddenError, Client(base_url=server, api_key="wrong").get_browser_sessions),
    refused(NotFoundError, client.get_browser_session, "pbs_1"),
    refused(NotFoundError, client.get_run, "wr_1"),
    refused(BadRequestError, client.run_workflow, agent_id=permanent, parameters={"site": site}),
    refused(UnprocessableEntityError, client.create_browser_session, timeout=1),
    refused(UnprocessableEntityError, client.create_workflow, yaml_definition="title: none"),
    refused(ApiError, client.run_task, prompt="buy a lamp", url=site),
    refused(NotFoundError, client.get_browser_profile, "bp_1"),
]

# Profiles.
login = client.create_browser_profile(name="Shop login", description="d", browser_session_id=identity)
assert login.browser_profile_id.startswith("bp_") and login.is_managed is False, login
empty = client.create_browser_profile(name="Empty")
assert [one.name for one in client.list_browser_profiles()] == ["Empty", "Shop login"]
assert [one.name for one in client.list_browser_profiles(search_key="LOGIN")] == ["Shop login"]
assert client.list_browser_profiles(managed=True) == []
assert client.update_browser_profile(empty.browser_profile_id, name="None").name == "None"
client.delete_browser_profile(empty.browser_profile_id)
refused(NotFoundError, client.get_browser_profile, empty.browser_profile_id)
again = client.create_browser_session(browser_profile_id=login.browser_profile_id)
assert again.browser_profile_id == login.browser_profile_id and again.generate_browser_profile, again
kept = client.update_browser_session(again.browser_session_id, generate_browser_profile=False)
assert kept.generate_browser_profile is False, kept
client.close_browser_session(again.browser_session_id)
assert client.get_browser_profile(login.browser_profile_id).name == "Shop login"

# The end.
client.delete_workflow(long)
refused(ApiError, client.get_workflow, long)
client.close_browser_session(identity)
client.close_browser_session(identity)
assert client.get_browser_session(identity).status == "completed"
assert client.get_browser_sessions() == []
gone = refused(ApiError, client.run_workflow, agent_id=permanent, parameters=values, browser_session_id=identity)
seen["refused"].append(gone)
print(json.dumps(seen))
