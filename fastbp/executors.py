"""Executors map the shards of a plan onto workers; `local` is the one there is."""

import itertools
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait

from fastbp.plan import Shard

LOOK_AHEAD = 2  # while one shard is written, the next is trained


def local(
    work: Callable[[Shard], None], shards: Iterable[Shard], cancel: Callable[[], None]
) -> Iterator[Shard]:
    """Do `work` on each shard in this process; give the shards as they are done.

    The threads that train are not ours: `work` shares a shard out among them. On an error or an interrupt
    `cancel` is called, which must make every `work` under way return soon.
    """
    waiting = iter(shards)
    with ThreadPoolExecutor(LOOK_AHEAD, thread_name_prefix="shard") as pool:
        under_way: dict[Future[None], Shard] = {}
        try:
            while True:
                for shard in itertools.islice(waiting, LOOK_AHEAD - len(under_way)):
                    under_way[pool.submit(work, shard)] = shard
                if not under_way:
                    return
                for done in wait(under_way, return_when=FIRST_COMPLETED).done:
                    done.result()
                    yield under_way.pop(done)
        except BaseException:
            cancel()
            raise
