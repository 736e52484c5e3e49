"""Predict in several processes at once: python benchmarks/in_parts.py N -i INPUT -o OUTPUT ...

One process leaves a GPU idle while it reads, queues and writes small images. Takes the arguments
of diffunet_predict; what stops this call stops all parts.
"""

import signal
import subprocess
import sys


def main(arguments: list[str]) -> int:
    num_parts = int(arguments[0])
    command = [sys.executable, "-m", "diffunet.cli.predict", *arguments[1:]]
    parts = [
        subprocess.Popen([*command, "-num_parts", str(num_parts), "-part_id", str(part)])
        for part in range(num_parts)
    ]

    def stop(signum: int, _: object) -> None:
        for part in parts:
            part.send_signal(signum)

    signal.signal(signal.SIGINT, stop)
    signal.signal(signal.SIGTERM, stop)
    return max(abs(part.wait()) for part in parts)


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
