"""The neighbour of `service_http`: FastAPI with one route that returns a constant vector."""

from __future__ import annotations

import json
import socket
from typing import Any

import uvicorn
from fastapi import FastAPI, Request, Response
from pydantic import BaseModel

DIMENSION = 384
VECTOR = [round(0.05 * (-1) ** i / (1 + i), 9) for i in range(DIMENSION)]
ANSWER: dict[str, Any] = {"embedding": VECTOR, "dimension": DIMENSION, "model": "constant"}
ANSWER |= {"cached": True, "cost": 0.0}
READY = json.dumps(ANSWER, separators=(",", ":")).encode()

app = FastAPI()


class Asked(BaseModel):
    text: str
    model: str | None = None
    use_cache: bool = True


@app.post("/embed/text")
async def as_people_write_it(asked: Asked) -> dict[str, Any]:
    return ANSWER


@app.post("/ready")
async def as_quick_as_it_gets(request: Request) -> Response:
    await request.body()
    return Response(READY, media_type="application/json")


def main() -> None:
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as opened:
        print(f"http://127.0.0.1:{opened.getsockname()[1]}/", flush=True)
        config = uvicorn.Config(app, log_level="warning", access_log=False)
        uvicorn.Server(config).run(sockets=[opened])


if __name__ == "__main__":
    main()
