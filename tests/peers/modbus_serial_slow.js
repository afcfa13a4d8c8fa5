// A Modbus TCP server by modbus-serial: a slow device. Arguments: port (it takes 0 for 502), milliseconds before answers.
// Register n holds n + 1000; it refuses registers 50 to 59 (exception 2); unit 7 never answers.
'use strict'
const ModbusRTU = require('modbus-serial')
const wait = Number(process.argv[3] || 0)

function register (address, unit, done) {
  if (unit === 7) return
  setTimeout(() => {
    if (address >= 50 && address < 60) return done({ modbusErrorCode: 2, msg: 'illegal' })
    done(null, address + 1000)
  }, wait)
}
const vector = {
  getHoldingRegister: register,
  getInputRegister: register,
  getCoil: (address, unit, done) => setTimeout(() => done(null, address % 2 === 0), wait),
  setRegister: (address, value, unit, done) => setTimeout(() => done(null), wait)
}
const server = new ModbusRTU.ServerTCP(vector, { host: '127.0.0.1', port: Number(process.argv[2]), unitID: 0 })
server.on('socketError', () => {})
server.on('serverError', () => {})
server.on('initialized', () => console.log(JSON.stringify({ port: server._server.address().port })))
