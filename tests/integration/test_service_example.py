"""The example of a service with Redis: its commands, its client, and what its alerts look at."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
from support.children import ROOT
from support.redis_server import RedisServer, server_binary
from support.served import needs_serve, served

EXAMPLE = ROOT / "examples" / "service"
pytestmark = needs_serve


def test_two_commands_are_a_service_and_its_client_finds_its_vectors_again(tmp_path: Path) -> None:
    """The Redis of the example's file, the server, and what the client says of both."""
    server_binary()
    redis = RedisServer.of(EXAMPLE / "redis.conf").start()
    try:
        with served("--dir", str(tmp_path), EMBEDCACHE_REDIS_URL=redis.url) as server:
            ran = subprocess.run(
                [sys.executable, "-W", "error", str(EXAMPLE / "client.py"), server.url],
                capture_output=True,
                text=True,
                timeout=120,
                check=False,
            )
            assert ran.returncode == 0, ran.stderr
            assert "the second time, found: 3 of 3" in ran.stdout
            assert "False" not in ran.stdout.replace("cat and revenue: False", "")
            metrics = server.get("/metrics").content.decode()
        assert redis.answer("DBSIZE") == b":3"
        assert b"allkeys-lru" in redis.answer("CONFIG GET maxmemory-policy", lines=5)
    finally:
        redis.close()
    _alerts_look_at_what_there_is(metrics)


def _alerts_look_at_what_there_is(metrics: str) -> None:
    """Each metric of an alert is one of the server's, with that label."""
    rules = (EXAMPLE / "alerts.yml").read_text(encoding="utf-8")
    names = set(re.findall(r"\bembedcache_\w+", rules))
    assert len(names) >= 6
    assert {name for name in names if f"\n{name}" not in metrics} == set()
    assert '{tier="redis"}' in rules
    assert 'embedcache_tier_errors_total{tier="redis"}' in metrics


def test_the_files_for_docker_are_yaml_and_fit_together() -> None:
    """The compose file mounts what there is, and the rules are those that Prometheus reads."""
    yaml = pytest.importorskip("yaml")
    compose = yaml.safe_load((EXAMPLE / "compose.yaml").read_text(encoding="utf-8"))
    assert set(compose["services"]) == {"redis", "embedcache", "prometheus"}
    build = compose["services"]["embedcache"]["build"]
    assert (EXAMPLE / build["context"] / build["dockerfile"]).resolve().is_file()
    files = {name: facts.get("file") for name, facts in compose["configs"].items()}
    assert all((EXAMPLE / file).is_file() for file in files.values() if file)
    prometheus = yaml.safe_load((EXAMPLE / "prometheus.yml").read_text(encoding="utf-8"))
    assert prometheus["rule_files"] == ["alerts.yml"]
    rules = yaml.safe_load((EXAMPLE / "alerts.yml").read_text(encoding="utf-8"))
    alerts = {rule["alert"]: rule["expr"] for rule in rules["groups"][0]["rules"]}
    assert "< 0.5" in alerts["EmbedcacheHitRateUnderHalf"]
    assert "> 500e6" in alerts["EmbedcacheRedisOver500MB"]
    assert "tier_errors" in alerts["EmbedcacheRedisConnectionFailures"]
