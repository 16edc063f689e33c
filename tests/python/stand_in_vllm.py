"""A stand-in for vLLM with VLLM_SERVER_DEV_MODE=1 (`dev`): /v1/models, /metrics, /is_sleeping, /sleep?level=1, /wake_up."""

from stand_in import StandIn

METRICS = """# HELP vllm:num_requests_running Number of requests in model execution batches.
# TYPE vllm:num_requests_running gauge
vllm:num_requests_running{{engine="0",model_name="m"}} {}.0
vllm:num_requests_waiting{{engine="0",model_name="m"}} 0.0
"""


class VLLM(StandIn):
    dev, asleep, metrics = True, False, True

    def answer(self, method, path, body):
        if (method, path) == ("GET", "/v1/models"):
            return {"object": "list", "data": [{"id": "m", "object": "model"}]}
        if (method, path) == ("GET", "/metrics") and self.metrics:
            return METRICS.format(int(self.busy)).encode()
        if self.dev and (method, path) == ("GET", "/is_sleeping"):
            return {"is_sleeping": self.asleep}
        if self.dev and (method, path) in (("POST", "/sleep?level=1"), ("POST", "/wake_up")):
            self.asleep = path != "/wake_up"
            return b""
        return 404, {"detail": "Not Found"}
