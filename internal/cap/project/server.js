// Starts the services on a free port of the loopback interface: `cds serve` has no
// setting for the interface and listens on all of them.
const http = require("http");
const cds = require("@sap/cds");
const express = require("express");

const app = express();
app.listen = (port) => http.createServer(app).listen(port, "127.0.0.1");

(async () => {
  await cds.plugins;
  const server = await cds.server({ app, in_memory: true, port: 0 });
  server.on("listening", () => {
    const url = "http://127.0.0.1:" + server.address().port;
    cds.emit("listening", { server, url }); // OData V2 begins here
    console.log("listens on " + url);
  });
})();
