import sqlite3


def pack(database: sqlite3.Connection, message_id: str, pieces: int) -> None:
    with database:
        if database.execute("INSERT OR IGNORE INTO done VALUES (?)", (message_id,)).rowcount:
            database.execute("UPDATE stock SET packed = packed + ?", (pieces,))
