"""`make demo`: two operators' centres and the pan-European centre on one machine, in one line of flow.

    start_demo()   servers → databases → keys and members → accounts → programs → addresses
    then           watch, approve by itself if asked to, stop, count

Grids are simulated; a real capture is replayed. Everything listens on loopback and ends with this process.
"""

from commands.demo.run import demo

__all__ = ["demo"]
