"""Locks on folders, held by one process and released when it ends."""

import errno
import fcntl
import os
from pathlib import Path
from typing import IO

from attn.errors import UserError

NAME = ".lock"
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP}
"""Error codes of file systems without locks, such as Lustre without `flock`."""


def lock(folder: Path) -> IO[str]:
    """Locks `folder`; closing the returned file, or any end of this process, unlocks.

    Raises:
      UserError: another process holds it.
    """
    file = (folder / NAME).open("a+", encoding="utf-8")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        file.seek(0)
        holder = file.read().strip() or "unknown"
        file.close()
        raise UserError(
            f"another process ({holder}) is writing to {folder}; wait for it, stop it, "
            "or choose another --workdir"
        ) from None
    except OSError as error:
        if error.errno not in _NO_LOCKS:
            file.close()
            raise
    file.truncate(0)
    file.write(str(os.getpid()))
    file.flush()
    return file
