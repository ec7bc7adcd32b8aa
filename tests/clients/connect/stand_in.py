"""A stand-in for a model on loopback, for agents that are programs of a vendor.

It answers the two interfaces that they speak, Messages and Responses, with the calls of a script: create a session,
open a page, take a snapshot, close the session. The number of results in a request is the position in the script.
"""

import http.server
import json
import re
import threading

HANDLE = re.compile(r"\bpbs_\w+\.\w+")
SCRIPT = ("create", "navigate", "snapshot", "close")
# The last answer, which the client has to print.
FAREWELL = "The lamp is found."
# The answer to requests without the server's tools, such as those for a title of the conversation.
ASIDE = "A lamp"
# The id of the call that fetches the schemas of tools.
SEARCH = "toolu_search"


class Model:
    """One conversation. `offered` has the names of the server's tools, `results` the texts of their answers."""

    def __init__(self, names, site, prefix):
        self.names, self.site, self.prefix = names, site, prefix
        self.offered, self.results = set(), []
        interfaces = {"/v1/messages": self.messages, "/v1/responses": self.responses}

        class Handler(http.server.BaseHTTPRequestHandler):
            """Answers POST alone. It is the clients' proxy too, and refuses CONNECT: nothing leaves the machine."""

            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers.get("content-length", 0)))
                interface = interfaces.get(self.path.partition("?")[0])
                if interface is None:
                    return self.send_error(404)
                events = interface(json.loads(body))
                stream = "".join(f"event: {event['type']}\ndata: {json.dumps(event)}\n\n" for event in events).encode()
                self.send_response(200)
                self.send_header("content-type", "text/event-stream")
                self.send_header("content-length", str(len(stream)))
                self.end_headers()
                self.wfile.write(stream)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        self.server.server_close()

    def next(self, offered, results):
        """Returns the name and the arguments of the next call, or None at the end of the script."""
        self.offered |= offered
        self.results = max(self.results, results, key=len)
        # Without a session, the later calls could only fail.
        session = HANDLE.search(results[0]) if results else None
        if not offered or len(results) == len(SCRIPT) or (results and session is None):
            return None
        meaning = SCRIPT[len(results)]
        given = {"session": session[0]} if session else {}
        if meaning == "navigate":
            given["url"] = f"{self.site}/products.html"
        parameters = self.names["parameters"]
        return self.names["tools"][meaning], {parameters[meant]: value for meant, value in given.items()}

    def messages(self, body):
        """Yields the events of an answer by the Messages API."""
        blocks = [block for message in body["messages"] if isinstance(message["content"], list)
                  for block in message["content"]]
        results = {block["tool_use_id"]: block["content"] for block in blocks if block["type"] == "tool_result"}
        searched = results.pop(SEARCH, None) is not None
        # A tool has its schema in the list of tools, or only its name in a text until the client's ToolSearch adds it.
        known = {tool["name"] for tool in body.get("tools", [])}
        named = "\n".join([*known, *(block.get("text", "") for block in blocks)])
        offered = set(re.findall(rf"^{self.prefix}(\w+)$", named, re.MULTILINE))
        call = self.next(offered, [text_of(content) for content in results.values()])
        if call:
            id, name, given = f"toolu_{len(results)}", self.prefix + call[0], call[1]
            if name not in known and not searched:
                wanted = ",".join(self.prefix + self.names["tools"][meaning] for meaning in SCRIPT)
                id, name, given = SEARCH, "ToolSearch", {"query": f"select:{wanted}"}
            block = {"type": "tool_use", "id": id, "name": name, "input": {}}
            delta = {"type": "input_json_delta", "partial_json": json.dumps(given)}
        else:
            block = {"type": "text", "text": ""}
            delta = {"type": "text_delta", "text": FAREWELL if offered else ASIDE}
        yield {"type": "message_start", "message": {
            "id": "msg_1", "type": "message", "role": "assistant", "model": body["model"], "content": [],
            "stop_reason": None, "stop_sequence": None, "usage": {"input_tokens": 1, "output_tokens": 1}}}
        yield {"type": "content_block_start", "index": 0, "content_block": block}
        yield {"type": "content_block_delta", "index": 0, "delta": delta}
        yield {"type": "content_block_stop", "index": 0}
        ending = {"stop_reason": "tool_use" if call else "end_turn", "stop_sequence": None}
        yield {"type": "message_delta", "delta": ending, "usage": {"output_tokens": 1}}
        yield {"type": "message_stop"}

    def responses(self, body):
        """Yields the events of an answer by the Responses API, in which the tools of a server share a namespace."""
        offered = {tool["name"] for space in body.get("tools", [])
                   if space["type"] == "namespace" and space["name"] == self.prefix for tool in space["tools"]}
        results = [text_of(item["output"]) for item in body["input"] if item["type"] == "function_call_output"]
        call = self.next(offered, results)
        if call:
            item = {"type": "function_call", "id": f"fc_{len(results)}", "call_id": f"call_{len(results)}",
                    "namespace": self.prefix, "name": call[0], "arguments": json.dumps(call[1])}
        else:
            content = [{"type": "output_text", "text": FAREWELL if offered else ASIDE}]
            item = {"type": "message", "id": f"msg_{len(results)}", "role": "assistant", "content": content}
        usage = {"input_tokens": 1, "output_tokens": 1, "total_tokens": 2}
        yield {"type": "response.created", "response": {"id": "resp_1"}}
        yield {"type": "response.output_item.done", "output_index": 0, "item": item}
        yield {"type": "response.completed", "response": {"id": "resp_1", "usage": usage}}


def text_of(content):
    """Returns the text of a tool's result; pictures are left out."""
    if isinstance(content, str):
        return content
    return "\n".join(part.get("text", "") for part in content)
