"""A worker of a campaign: in each round it asks a host for vectors, whatever becomes of it."""

from __future__ import annotations

import json
import os
import random
import sys
from pathlib import Path

import numpy as np

from pytest_embedcache.models.host import starting
from pytest_embedcache.models.host.address import Address
from pytest_embedcache.models.host.process import Job
from pytest_embedcache.models.host.starting import start_at
from support.hosts import LIGHT_HOST, Worker
from support.light import vector_of


def main(address: str, owner: str, *models: str) -> None:
    """A line on standard input is a round's seed; the answer is what came of it.

    Before the last texts it waits for another line, after which the host has been killed.
    """
    starting.COMMAND = LIGHT_HOST
    place = Address(Path(address))
    job = Job(address, str(Path(models[0]).parent), owner=int(owner))
    while line := sys.stdin.readline():
        draw = random.Random(int(line) * 1000 + os.getpid() % 1000)
        worker = Worker(place, start=lambda: start_at(place, job), silence=20)
        wrong = errors = 0
        for number in range(30):
            if number == 25:
                sys.stdin.readline()
            path = Path(draw.choice(models))
            # Some are everybody's, at the same time.
            texts = [f"{line} {draw.randrange(40)}" for _ in range(draw.randint(1, 5))]
            try:
                found = worker.model(path).encode(texts)
            except Exception as error:
                errors += 1
                print(f"{type(error).__name__}: {error}", file=sys.stderr)
                continue
            right = np.stack([vector_of(path, text) for text in texts])
            wrong += not np.array_equal(found, right)
        told = {"wrong": wrong, "errors": errors, "loads": worker.loads, "pid": worker.link.pid}
        told |= {"asked": worker.link.asked, "lost": worker.link.lost}
        worker.link.close()
        print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
