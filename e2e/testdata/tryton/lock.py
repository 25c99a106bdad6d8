"""Holds a SQLite database for some seconds, as another program that uses it would.

Usage: lock.py FILE SECONDS
"""
import sqlite3
import sys
import time

connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute('BEGIN EXCLUSIVE')
print('locked', flush=True)
time.sleep(float(sys.argv[2]))
connection.execute('ROLLBACK')
