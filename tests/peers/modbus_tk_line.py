"""modbus_tk as two units on a serial line: python modbus_tk_line.py PORT. Prints {"ready": true}; SIGTERM ends it.

Unit 1 and unit 2 hold 100 and 200 plus the number in holding registers 0 to 9, and coils 0 to 9 that are off.
"""

import json
import sys
import time

import serial
from modbus_tk import defines, modbus_rtu

server = modbus_rtu.RtuServer(serial.Serial(sys.argv[1], 9600, parity="N", stopbits=1))
server.start()
for unit_id in (1, 2):
    unit = server.add_slave(unit_id)
    unit.add_block("holding", defines.HOLDING_REGISTERS, 0, 10)
    unit.set_values("holding", 0, [100 * unit_id + number for number in range(10)])
    unit.add_block("coils", defines.COILS, 0, 10)
sys.stdout.write(json.dumps({"ready": True}) + "\n")
sys.stdout.flush()
while True:
    time.sleep(60)
