"""Indexes as older versions of Armchair made them.

`index_1_*.sql` are the tables of version 1, verbatim.
"""

from pathlib import Path

from datasets.tables import tables
from tests.datasets.stores import connect


def make_old(root):
    """Puts an index of version 1 with the same rows in the place of the index of a store, which must not be open."""
    is_postgres = (root / "index.json").exists()
    script = Path(__file__).with_name(f"index_1_{'postgres' if is_postgres else 'sqlite'}.sql").read_text()
    with connect(root) as connection:
        rows = {}
        for table in tables.sorted_tables:
            found = connection.execute(f'SELECT * FROM "{table.name}"')
            names = [column[0] for column in found.description]
            rows[table.name] = [dict(zip(names, row, strict=True)) for row in found]
        for table in reversed(tables.sorted_tables):
            connection.execute(f'DROP TABLE "{table.name}"')
        for statement in script.split(";\n"):
            connection.execute(statement)
        for table in tables.sorted_tables:
            if f'CREATE TABLE "{table.name}"' in script:
                names = [column[0] for column in connection.execute(f'SELECT * FROM "{table.name}"').description]
                places = ",".join(["%s" if is_postgres else "?"] * len(names))
                for row in rows[table.name]:
                    statement = f'INSERT INTO "{table.name}" VALUES ({places})'
                    connection.execute(statement, [row[name] for name in names])
        connection.commit()
    return root
