"""A worker that holds nothing."""

from memkeep.worker import Worker

if __name__ == "__main__":
    Worker("empty").run()
