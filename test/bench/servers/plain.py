"""The plain protocol on Python's asyncio: its fast form, a Protocol without streams, and the module a function."""
import asyncio
import json
import ssl
import sys

DIGEST = "0" * 64


async def execute(args):
    return f"Hello, {args}!"


class Session(asyncio.Protocol):
    sessions = set()

    def connection_made(self, transport):
        self.transport = transport
        self.held = b""
        self.sessions.add(self)

    def connection_lost(self, error):
        self.sessions.discard(self)

    def data_received(self, chunk):
        *lines, self.held = (self.held + chunk).split(b"\n")
        for line in lines:
            header, _, text = line.decode().partition(" ")
            api, kind, ref = header.split(":")
            if api == "sys":
                self.transport.write(f"sys:pong:{ref} {{}}\n".encode())
            elif api == "bench":
                self.broadcast(ref)
            else:
                asyncio.ensure_future(self.run(ref, json.loads(text)))

    async def run(self, ref, request):
        result = await execute(request["args"])
        answer = {"mod": request["mod"], "result": result, "sum": DIGEST, "tree": DIGEST}
        self.transport.write(f"mod:exec_resp:{ref} {json.dumps(answer)}\n".encode())

    def broadcast(self, ref):
        report = {"mod": "hello.ts", "desc": None, "sum": DIGEST, "tree": DIGEST}
        line = f"modreload:modreload:{ref} {json.dumps(report)}\n".encode()
        for session in self.sessions:
            session.transport.write(line)


async def main(certs):
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.num_tickets = 0
    context.load_cert_chain(f"{certs}/server.crt", f"{certs}/server.key")
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_verify_locations(f"{certs}/client.crt")
    loop = asyncio.get_running_loop()
    server = await loop.create_server(Session, "127.0.0.1", 0, ssl=context, backlog=1024)
    print(json.dumps({"port": server.sockets[0].getsockname()[1]}), flush=True)
    await server.serve_forever()


asyncio.run(main(sys.argv[1]))
