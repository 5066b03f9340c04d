"""Where the jobs of a sweep are done: on this machine, or on a cluster."""

from retrieval_eval.executors.base import Executor, News
from retrieval_eval.executors.choice import executor_kind, open_executor
from retrieval_eval.executors.local import LocalExecutor

__all__ = ["Executor", "LocalExecutor", "News", "executor_kind", "open_executor"]
