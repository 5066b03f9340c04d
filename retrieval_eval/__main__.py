"""``python -m retrieval_eval``."""

from retrieval_eval.cli import main

if __name__ == "__main__":
    main()
