"""The database behind the record: engine, tables, migrations, and the statements both stores share."""
