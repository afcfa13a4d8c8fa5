// A node-opcua server with its conformance address space. Prints {"port": ..} when it listens; SIGTERM ends it.
// Arguments: PKI_DIR [secure]. With "secure": encrypted endpoints and the user "operator" (password in OPCUA_PASSWORD).
const net = require("node:net");
const { OPCUAServer, OPCUACertificateManager, MessageSecurityMode, SecurityPolicy, nodesets } = require("node-opcua");
const { build_address_space_for_conformance_testing } = require("node-opcua-address-space-for-conformance-testing");

function freePort() {
  return new Promise((resolve) => {
    const probe = net.createServer().listen(0, "127.0.0.1", () => {
      const { port } = probe.address();
      probe.close(() => resolve(port));
    });
  });
}

// Parts of the standard's nodes are bound after start: wait until the variables readable by a client stay the same.
async function settled(addressSpace) {
  const count = () => {
    const seen = new Set();
    const walk = (node) => {
      for (const reference of node.findReferencesEx("HierarchicalReferences")) {
        const child = addressSpace.findNode(reference.nodeId);
        if (child && !seen.has(child.nodeId.toString())) {
          seen.add(child.nodeId.toString());
          walk(child);
        }
      }
    };
    walk(addressSpace.rootFolder.objects);
    return seen.size;
  };
  for (let before = -1, same = 0; same < 3; ) {
    const now = count();
    same = now === before ? same + 1 : 0;
    before = now;
    await new Promise((resolve) => setTimeout(resolve, 100));
  }
}

(async () => {
  const [pki, kind] = process.argv.slice(2);
  const secure = kind === "secure";
  const port = await freePort();
  const serverCertificateManager = new OPCUACertificateManager({
    rootFolder: pki,
    automaticallyAcceptUnknownCertificate: process.env.OPCUA_TRUST_ALL === "1",
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
      ? [SecurityPolicy.Basic256Sha256, SecurityPolicy.Aes128_Sha256_RsaOaep, SecurityPolicy.Aes256_Sha256_RsaPss]
      : [SecurityPolicy.None],
    allowAnonymous: !secure,
    userManager: { isValidUser: (name, password) => name === "operator" && password === process.env.OPCUA_PASSWORD },
    serverCapabilities: {
      maxSessions: 100,
      maxSubscriptions: 100,
      maxSubscriptionsPerSession: 100,
      maxMonitoredItems: 20000,
      maxMonitoredItemsPerSubscription: 20000,
      operationLimits: { maxMonitoredItemsPerCall: 500, maxNodesPerRead: 700, maxNodesPerBrowse: 100 },
    },
  });
  await server.initialize();
  build_address_space_for_conformance_testing(server.engine.addressSpace, { mass_variables: !secure });
  await server.start();
  await settled(server.engine.addressSpace);
  process.on("SIGTERM", () => server.shutdown(100).then(() => process.exit(0)));
  console.log(JSON.stringify({ port }));
})();
