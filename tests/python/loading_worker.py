"""See sample_worker.Loading."""

from sample_worker import Loading

if __name__ == "__main__":
    Loading().run()
