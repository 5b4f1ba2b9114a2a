"""Unpacks the protocol test vectors of a botocore source distribution: <archive> <folder>.

They land in <folder>/tests/unit/protocols, without the distribution's own top folder.
"""

import pathlib
import sys
import tarfile

WANTED = ("tests", "unit", "protocols")


def main(archive, folder):
    unpacked = 0
    with tarfile.open(archive) as distribution:
        for member in distribution:
            path = pathlib.PurePosixPath(member.name).parts[1:]
            if member.isfile() and path[:3] == WANTED and ".." not in path:
                target = pathlib.Path(folder, *path)
                target.parent.mkdir(parents=True, exist_ok=True)
                target.write_bytes(distribution.extractfile(member).read())
                unpacked += 1
    if not unpacked:
        sys.exit(f"{archive} has no {'/'.join(WANTED)}")


if __name__ == "__main__":
    main(*sys.argv[1:])
