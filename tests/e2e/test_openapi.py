"""openapi.json is true: every route of the contract is in it, everything it refers to exists, and what it promises is
answered."""

import re
import unittest

from harness import MEMORY, SharedDaemonCase

ROUTES = [
    ("get", f"{MEMORY}/status"), ("get", MEMORY), ("get", MEMORY + "/status/{idDevice}"), ("get", f"{MEMORY}/usage"),
    ("get", MEMORY + "/usage/{idDevice}"), ("get", f"{MEMORY}/allocations"),
    ("get", MEMORY + "/allocations/device/{idDevice}"), ("get", MEMORY + "/allocation/{allocationId}"),
    ("post", f"{MEMORY}/allocations/allocate"), ("post", MEMORY + "/allocations/allocate/{idDevice}"),
    ("delete", MEMORY + "/allocations/{allocationId}"), ("post", f"{MEMORY}/operations/clear"),
    ("post", MEMORY + "/operations/clear/{idDevice}"), ("post", f"{MEMORY}/operations/defragment"),
    ("post", MEMORY + "/operations/defragment/{idDevice}"), ("post", f"{MEMORY}/transfer"),
    ("get", MEMORY + "/transfer/{transferId}"),
    ("delete", MEMORY + "/transfer/{transferId}"), ("get", f"{MEMORY}/transfers"), ("get", f"{MEMORY}/devices"),
    ("get", MEMORY + "/devices/{idDevice}"), ("put", MEMORY + "/limits/{idDevice}"), ("get", f"{MEMORY}/pressure"),
    ("get", MEMORY + "/pressure/{idDevice}"), ("put", f"{MEMORY}/pressure/thresholds"),
    ("post", f"{MEMORY}/operations/copy"), ("post", f"{MEMORY}/operations/fill"), ("get", f"{MEMORY}/jobs"),
    ("get", MEMORY + "/jobs/{id}"),
    ("delete", MEMORY + "/jobs/{id}"), ("get", f"{MEMORY}/workers"), ("post", MEMORY + "/workers/{id}/restart"),
    ("get", f"{MEMORY}/models"), ("get", MEMORY + "/models/{id}"), ("patch", MEMORY + "/models/{id}"),
    ("post", f"{MEMORY}/models/load"), ("post", MEMORY + "/models/{id}/unload"), ("get", f"{MEMORY}/models/status"),
    ("post", f"{MEMORY}/models/optimize"), ("get", f"{MEMORY}/events"), ("get", "/health"), ("get", "/health/detailed"), ("get", "/openapi.json"),
]


def shape(path):
    """A path without the names of its parameters, which are the document's own affair."""
    return re.sub(r"\{[^}]*\}", "{}", path)


class OpenApi(SharedDaemonCase):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.answer = cls.daemon.get("/openapi.json")
        cls.document = cls.answer.body

    def operations(self):
        for path, methods in self.document["paths"].items():
            for method, operation in methods.items():
                if method != "parameters":
                    yield path, method, operation

    def test_it_is_the_document_itself(self):
        self.assertEqual(200, self.answer.status)
        self.assertTrue(self.document["openapi"].startswith("3.1"))
        self.assertEqual(self.daemon.facts["version"], self.document["info"]["version"])
        self.assertTrue(self.document["info"]["title"])

    def test_every_route_of_the_contract_is_in_it(self):
        there = {(method, shape(path)) for path, method, _ in self.operations()}
        self.assertEqual(set(), {(method, shape(path)) for method, path in ROUTES} - there)

    def test_every_reference_resolves(self):
        def references(node):
            if isinstance(node, dict):
                if "$ref" in node:
                    yield node["$ref"]
                for value in node.values():
                    yield from references(value)
            elif isinstance(node, list):
                for value in node:
                    yield from references(value)

        found = set(references(self.document))
        self.assertTrue(found, "no schema is referred to")
        for reference in found:
            with self.subTest(reference):
                self.assertTrue(reference.startswith("#/"))
                node = self.document
                for part in reference[2:].split("/"):
                    node = node[part.replace("~1", "/").replace("~0", "~")]
                self.assertIsInstance(node, dict)

    def test_every_schema_is_used(self):
        text = str(self.document)
        for name in self.document["components"]["schemas"]:
            with self.subTest(name):
                self.assertIn(f"'#/components/schemas/{name}'", text)

    def test_operation_ids_are_unique(self):
        ids = [operation["operationId"] for _, _, operation in self.operations()]
        self.assertEqual(len(ids), len(set(ids)), sorted(i for i in ids if ids.count(i) > 1))

    def test_every_operation_says_what_it_does_and_answers(self):
        for path, method, operation in self.operations():
            with self.subTest(f"{method} {path}"):
                self.assertTrue(operation.get("summary") or operation.get("description"))
                self.assertTrue(any(status.startswith("2") for status in operation["responses"]))

    def test_path_parameters_are_declared(self):
        for path, method, operation in self.operations():
            with self.subTest(f"{method} {path}"):
                declared = {p["name"] for p in operation.get("parameters", []) if p.get("in") == "path"}
                self.assertEqual(set(re.findall(r"\{([^}]*)\}", path)), declared)
                for parameter in operation.get("parameters", []):
                    self.assertIn("schema", parameter)
                    self.assertTrue(parameter["in"] != "path" or parameter["required"] is True)

    def test_bodies_have_their_fields(self):
        body = self.document["paths"][f"{MEMORY}/allocations/allocate"]["post"]["requestBody"]
        schema = body["content"]["application/json"]["schema"]
        if "$ref" in schema:
            schema = self.document["components"]["schemas"][schema["$ref"].rpartition("/")[2]]
        self.assertEqual({"sizeBytes", "memoryType", "alignmentBytes", "purpose", "label", "priority", "persistent",
                          "pinned", "ttlSeconds", "ownerPid", "zero", "commit", "strategy", "evict", "share", "waitMs",
                          "dryRun"}, schema["properties"].keys())
        self.assertEqual(["sizeBytes"], schema["required"])

    def test_every_path_of_it_is_served(self):
        for path, method, operation in self.operations():
            if "event-stream" in str(operation) or path.endswith("/events"):
                continue
            real = path.replace("{idDevice}", "host:0")
            real = re.sub(r"\{[^}]*\}", "x", real)
            with self.subTest(f"{method} {path}"):
                answer = self.daemon.http.request("OPTIONS", real)
                self.refused(answer, 405, "METHOD_NOT_ALLOWED")
                self.assertIn(method.upper(), answer.headers["Allow"])


if __name__ == "__main__":
    unittest.main()
