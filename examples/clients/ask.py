"""Ask a gateway whether a sound is normal, with `avizor_client`: python ask.py HOST:PORT CA TOKEN_FILE MODEL FILE..."""

from __future__ import annotations

import sys

from avizor_client import Client, ClientError, ItemFailed, Tls


def main() -> None:
    """Print a line for each file."""
    if len(sys.argv) < 6:
        print("usage: python ask.py HOST:PORT CA TOKEN_FILE MODEL FILE...", file=sys.stderr)
        sys.exit(2)
    target, ca, token_file, model, *files = sys.argv[1:]
    try:
        with Client(target, tls=Tls(ca=ca), token_file=token_file) as gateway:
            answer = gateway.detect(model, files)
    except ClientError as error:
        sys.exit(str(error))
    for file, item in zip(files, answer.items, strict=True):
        if isinstance(item, ItemFailed):
            print(f"{file}: not judged: {item}")
        else:
            print(f"{file}: {'ANOMALY' if item.is_anomaly else 'normal'}, p-value {item.p_value:.4f}, score {item.score:.4f}")


if __name__ == "__main__":
    main()
