"""An editor's side of the Debug Adapter Protocol: as much of it as the tests need."""

import json
import socket

from harness.waiting import GENEROUS_SECONDS


class DebugAdapterClient:
    """One connection to debugpy. Every wait has a bound, after which it raises TimeoutError."""

    def __init__(self, port: int) -> None:
        """Connects to this machine and attaches, as an editor that stops at uncaught exceptions."""
        self._connection = socket.create_connection(("127.0.0.1", port), GENEROUS_SECONDS)
        self._incoming = self._connection.makefile("rb")
        self._sequence = 0
        self._events = []
        self.request("initialize", adapterID="debugpy", pathFormat="path")
        attaching = self._send("attach", {"justMyCode": True})
        self.event("initialized")
        self.request("setExceptionBreakpoints", filters=["uncaught"])
        self.request("configurationDone")
        self._response(attaching)

    def request(self, command: str, **arguments) -> dict:
        """The body of the answer. Raises AssertionError where the request is refused."""
        return self._response(self._send(command, arguments))

    def event(self, name: str) -> dict:
        """The body of the next event of this name."""
        while True:
            for message in self._events:
                if message["event"] == name:
                    self._events.remove(message)
                    return message.get("body", {})
            self._read()

    def stopped(self) -> tuple:
        """Why and where the next thread stops: the event, and the innermost frame."""
        event = self.event("stopped")
        frames = self.request("stackTrace", threadId=event["threadId"])["stackFrames"]
        return event, frames[0]

    def variables(self, frame: dict) -> dict:
        """The local variables of a frame, as text."""
        scope = self.request("scopes", frameId=frame["id"])["scopes"][0]
        found = self.request("variables", variablesReference=scope["variablesReference"])
        return {variable["name"]: variable["value"] for variable in found["variables"]}

    def go_away(self) -> None:
        """End the session; what is debugged goes on."""
        self.request("disconnect", terminateDebuggee=False)
        self.close()

    def close(self) -> None:
        self._incoming.close()
        self._connection.close()

    def _send(self, command: str, arguments: dict) -> int:
        self._sequence += 1
        body = json.dumps(
            {
                "seq": self._sequence,
                "type": "request",
                "command": command,
                "arguments": arguments,
            }
        ).encode()
        self._connection.sendall(b"Content-Length: %d\r\n\r\n" % len(body) + body)
        return self._sequence

    def _response(self, sequence: int) -> dict:
        while True:
            message = self._read()
            if message["type"] == "response" and message["request_seq"] == sequence:
                assert message["success"], message
                return message.get("body", {})

    def _read(self) -> dict:
        length = 0
        while True:
            line = self._incoming.readline()
            assert line, "debugpy closed the connection"
            if not line.strip():
                break
            name, _, value = line.partition(b":")
            if name.lower() == b"content-length":
                length = int(value)
        message = json.loads(self._incoming.read(length))
        if message["type"] == "event":
            self._events.append(message)
        return message
