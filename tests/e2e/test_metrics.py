"""GET /metrics: what Prometheus reads, and that it likes it; packaging/prometheus."""

import json
import re
import signal
import socket
import subprocess
import tempfile
import unittest
import urllib.request
from pathlib import Path

from harness import MEMORY, DaemonCase, wait_until

SOURCE = Path(__file__).resolve().parents[2]
BOARD = SOURCE / "packaging/grafana/memkeep.json"
RULES = SOURCE / "packaging/prometheus/memkeep.rules.yml"
PROMETHEUS = """
global: {{scrape_interval: 1s}}
rule_files: [{rules}]
scrape_configs:
  - job_name: memkeep
    static_configs: [{{targets: ["127.0.0.1:{port}"]}}]
"""


def promtool(*words, **more):
    done = subprocess.run(["promtool", *map(str, words)], capture_output=True, text=True, **more)
    return done.returncode, done.stdout + done.stderr


class Metrics(DaemonCase):
    def text(self):
        answer = self.daemon.get("/metrics")
        self.assertEqual(200, answer.status)
        self.assertEqual("text/plain; version=0.0.4; charset=utf-8", answer.headers["Content-Type"])
        return answer.body.decode()

    def values(self):
        """{name with its labels: value}"""
        lines = [line for line in self.text().splitlines() if not line.startswith("#")]
        return {name: float(value) for name, value in (line.rsplit(" ", 1) for line in lines)}

    def test_promtool_has_nothing_to_say(self):
        self.daemon.get(f"{MEMORY}/status")
        self.assertEqual((0, ""), promtool("check", "metrics", input=self.text()))

    def test_a_device_has_the_figures_of_its_status(self):
        self.mover()
        self.allocate(3 << 20, commit=True)
        values, status = self.values(), self.device("host:0")
        for figure in ("total", "used", "available", "committed", "cached", "allocated", "external", "reserved"):
            with self.subTest(figure):
                self.assertEqual(status[f"{figure}Bytes"], values[f'memkeep_device_{figure}_bytes{{device="host:0"}}'])
        self.assertEqual(1, values['memkeep_device_allocations{device="host:0"}'])
        self.assertEqual(1, values["memkeep_durable"])
        self.assertEqual(1, values['memkeep_worker_up{worker="host"}'])

    def test_operations_are_counted_with_their_time_and_errors(self):
        for _ in range(5):
            self.daemon.get(f"{MEMORY}/status")
        self.daemon.get(f"{MEMORY}/status/host:0")
        self.daemon.get(f"{MEMORY}/status/host:7")
        with self.daemon.unix() as unix:
            unix.call("memory.get_status")
        values = self.values()
        name = 'operation="memory.get_status"'
        self.assertEqual(8, values[f"memkeep_operation_seconds_count{{{name}}}"])
        self.assertEqual(1, values[f"memkeep_operation_errors_total{{{name}}}"])
        self.assertTrue(0 < values[f"memkeep_operation_seconds_sum{{{name}}}"] < 8)
        buckets = [value for key, value in values.items() if re.match(rf"memkeep_operation_seconds_bucket{{{name}", key)]
        self.assertEqual((sorted(buckets), 8), (buckets, buckets[-1]))

    def test_one_that_waits_for_a_job_counts_until_its_answer(self):
        allocation = self.allocate(1 << 20)
        self.fill(allocation, 7)
        self.assertEqual(1, self.values()['memkeep_operation_seconds_count{operation="memory.fill"}'])

    def test_the_alerts_are_rules(self):
        code, said = promtool("check", "rules", RULES)
        self.assertEqual(0, code, said)
        for name in set(re.findall(r"memkeep_\w+", RULES.read_text())):
            self.assertIn(f"# TYPE {name} ", self.text())

    def test_the_dashboard_asks_for_what_there_is(self):
        """Each of its queries is one that Prometheus understands, about metrics that the daemon has."""
        board = json.loads(BOARD.read_text())
        queries = [target["expr"] for panel in board["panels"] for target in panel["targets"]]
        queries += [note["expr"] for note in board["annotations"]["list"]]
        with tempfile.TemporaryDirectory() as folder:
            rules = Path(folder) / "rules.yml"
            asked = [query.replace("$device", ".*").replace("$__rate_interval", "1m") for query in queries]
            rules.write_text(json.dumps({"groups": [{"name": "board", "rules": [
                {"record": f"board:query{number}", "expr": query} for number, query in enumerate(asked)]}]}))
            code, said = promtool("check", "rules", rules)
        self.assertEqual(0, code, said)
        there = self.text()
        for name in set(re.findall(r"memkeep_\w+", json.dumps(board))):
            self.assertIn(f"# TYPE {re.sub('_(bucket|sum|count)$', '', name)} ", there)
        places = [(panel["gridPos"]["x"], panel["gridPos"]["y"]) for panel in board["panels"]]
        self.assertEqual(len(places), len(set(places)))

    def test_a_real_prometheus_reads_it(self):
        with socket.create_server(("127.0.0.1", 0)) as free:
            port = free.getsockname()[1]
        with tempfile.TemporaryDirectory() as folder, open(Path(folder) / "log", "w") as log:
            config = Path(folder) / "prometheus.yml"
            config.write_text(PROMETHEUS.format(rules=RULES, port=self.daemon.port))
            words = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder}/data",
                     f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
            server = subprocess.Popen(words, stdout=log, stderr=log, cwd=folder)
            try:
                target = wait_until(lambda: self.scraped(port), "a scrape", 60)
                said = (Path(folder) / "log").read_text()
            finally:
                server.send_signal(signal.SIGTERM)
                server.wait(30)
            self.assertEqual(("up", "", ""), (target["health"], target["lastError"], said))

    def scraped(self, port):
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/targets", timeout=5) as answer:
                targets = json.load(answer)["data"]["activeTargets"]
        except OSError:
            return None
        return next((target for target in targets if target["health"] != "unknown"), None)


if __name__ == "__main__":
    unittest.main()
