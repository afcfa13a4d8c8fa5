// A small node-opcua server whose counter says each number once. Prints {"port": ..} when it listens; SIGTERM ends it.
// Arguments: PKI_DIR [secure]. With "secure": encrypted endpoints for whoever comes, with OPCUA_TRUST_ALL=0 for nobody.
// "pressure" has an alarm above 10 that is acknowledged and confirmed; at SIGUSR1 the server raises an event of its own.
// At SIGUSR2 the node below /Objects/boiler/temperature is deleted and another one takes its name; at the next,
// the first one's id is back.
const net = require("node:net");
const { OPCUAServer, OPCUACertificateManager, DataType, MessageSecurityMode, SecurityPolicy, StatusCodes, Variant, VariantArrayType, nodesets } =
  require("node-opcua");

const PERIOD_MS = 50;

function freePort() {
  return new Promise((resolve) => {
    const probe = net.createServer().listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

(async () => {
  const [pki, kind] = process.argv.slice(2);
  const secure = kind === "secure";
  const port = await freePort();
  const serverCertificateManager = new OPCUACertificateManager({
    rootFolder: pki,
    automaticallyAcceptUnknownCertificate: process.env.OPCUA_TRUST_ALL !== "0",
  });
  await serverCertificateManager.initialize();
  const server = new OPCUAServer({
    port,
    host: "127.0.0.1",
    hostname: "127.0.0.1",
    nodeset_filename: [nodesets.standard],
    serverCertificateManager,
    userCertificateManager: serverCertificateManager,
    securityModes: secure ? [MessageSecurityMode.SignAndEncrypt, MessageSecurityMode.Sign] : [MessageSecurityMode.None],
    securityPolicies: secure
      ? [SecurityPolicy.Basic256Sha256, SecurityPolicy.Aes256_Sha256_RsaPss]
      : [SecurityPolicy.None],
  });
  await server.initialize();
  const namespace = server.engine.addressSpace.registerNamespace("urn:counter");
  const counter = namespace.addVariable({
    organizedBy: server.engine.addressSpace.rootFolder.objects,
    browseName: "counter",
    nodeId: "s=counter",
    dataType: "UInt32",
    minimumSamplingInterval: 0, // each change is reported, none is sampled away
  });
  let count = 0;
  const step = () => {
    count += 1;
    counter.setValueFromSource(new Variant({ dataType: DataType.UInt32, value: count }));
  };
  step();
  const timer = setInterval(step, PERIOD_MS);
  const boiler = namespace.addObject({
    organizedBy: server.engine.addressSpace.rootFolder.objects,
    browseName: "boiler",
    nodeVersion: "1", // only nodes with a version are told of when they change
    notifierOf: server.engine.addressSpace.rootFolder.objects.server, // where a condition refresh looks for alarms
    eventNotifier: 1,
  });
  let generation = 0;
  const addTemperature = () => {
    generation += 1;
    return namespace.addVariable({
      componentOf: boiler,
      browseName: "temperature",
      nodeId: `s=temperature_${generation % 2}`,
      nodeVersion: "1",
      dataType: "Int32",
      value: new Variant({ dataType: DataType.Int32, value: generation }),
    });
  };
  let temperature = addTemperature();
  process.on("SIGUSR2", () => {
    server.engine.addressSpace.modelChangeTransaction(() => {
      server.engine.addressSpace.deleteNode(temperature);
      temperature = addTemperature();
    });
  });
  server.engine.addressSpace.installAlarmsAndConditionsService();
  const pressure = namespace.addVariable({
    componentOf: boiler,
    browseName: "pressure",
    nodeId: "s=pressure",
    dataType: "Double",
    accessLevel: "CurrentRead | CurrentWrite",
    userAccessLevel: "CurrentRead | CurrentWrite",
    value: new Variant({ dataType: DataType.Double, value: 1 }),
    eventSourceOf: boiler,
  });
  const alarm = namespace.instantiateExclusiveLimitAlarm("ExclusiveLimitAlarmType", {
    browseName: "PressureTooHigh",
    conditionSource: pressure,
    inputNode: pressure,
    optionals: ["ConfirmedState", "Confirm"],
    componentOf: boiler,
    highHighLimit: 20,
    highLimit: 10,
    lowLimit: -10,
    lowLowLimit: -20,
  });
  alarm.setEnabledState(true);
  const fill = namespace.addMethod(boiler, {
    browseName: "fill",
    nodeId: "s=fill",
    inputArguments: [
      { name: "amount", dataType: DataType.Double },
      { name: "names", dataType: DataType.String, valueRank: 1 },
    ],
    outputArguments: [],
  });
  fill.bindMethod((inputs, _context, callback) => {
    const amount = inputs[0].value;
    if (amount > 100) {
      callback(null, { statusCode: StatusCodes.BadOutOfRange });
      return;
    }
    pressure.setValueFromSource(new Variant({ dataType: DataType.Double, value: amount + inputs[1].value.length }));
    callback(null, { statusCode: StatusCodes.Good });
  });
  const measure = namespace.addMethod(boiler, {
    browseName: "measure",
    nodeId: "s=measure",
    inputArguments: [{ name: "seconds", dataType: DataType.UInt16 }],
    outputArguments: [
      { name: "mean", dataType: DataType.Double },
      { name: "samples", dataType: DataType.Int32, valueRank: 1 },
      { name: "begun", dataType: DataType.DateTime },
    ],
  });
  measure.bindMethod((inputs, _context, callback) => {
    const outputArguments = [
      { dataType: DataType.Double, value: 0.5 },
      { dataType: DataType.Int32, arrayType: VariantArrayType.Array, value: [inputs[0].value, -1] },
      { dataType: DataType.DateTime, value: new Date("2026-01-02T03:04:05.678Z") },
    ];
    callback(null, { statusCode: StatusCodes.Good, outputArguments });
  });
  const reset = namespace.addMethod(boiler, { browseName: "reset", nodeId: "s=reset" });
  reset.bindMethod((_inputs, _context, callback) => {
    pressure.setValueFromSource(new Variant({ dataType: DataType.Double, value: 0 }));
    callback(null, { statusCode: StatusCodes.Good });
  });
  process.on("SIGUSR1", () => {
    server.engine.addressSpace.rootFolder.objects.server.raiseEvent("SystemEventType", {
      sourceName: { dataType: DataType.String, value: "operator" },
      message: { dataType: DataType.LocalizedText, value: { text: "door opened" } },
      severity: { dataType: DataType.UInt32, value: 300 },
    });
  });
  await server.start();
  process.on("SIGTERM", () => {
    clearInterval(timer);
    server.shutdown(100).then(() => process.exit(0));
  });
  console.log(JSON.stringify({ port }));
})();
