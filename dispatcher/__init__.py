"""The side that asks. ``Dispatcher`` for asyncio, ``BlockingDispatcher`` for everything else."""
