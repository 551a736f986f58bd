// Ask from Node.js, with the folder of .proto files alone: node ask.js HOST:PORT CA TOKEN_FILE PROTO_FOLDER MODEL FILE...
//
// It needs npm install @grpc/grpc-js @grpc/proto-loader
"use strict";

if (process.argv.length < 8) {
  console.error("usage: node ask.js HOST:PORT CA TOKEN_FILE PROTO_FOLDER MODEL FILE...");
  process.exit(2);
}
process.on("uncaughtException", (error) => {
  console.error(error.message.split("\n")[0]);
  process.exit(1);
});

const fs = require("fs");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const [target, ca, tokenFile, protos, model, ...files] = process.argv.slice(2);
const options = { includeDirs: [protos], keepCase: true, longs: Number, enums: String, defaults: true };
const definition = loader.loadSync(["avizor/v1/inference.proto"], options);
const { InferenceService } = grpc.loadPackageDefinition(definition).avizor.v1;

// The token goes with every call, over TLS alone.
const token = grpc.credentials.createFromMetadataGenerator((_, done) => {
  const metadata = new grpc.Metadata();
  metadata.set("authorization", `Bearer ${fs.readFileSync(tokenFile, "utf8").trim()}`);
  done(null, metadata);
});
const tls = grpc.credentials.createSsl(fs.readFileSync(ca));
const client = new InferenceService(target, grpc.credentials.combineChannelCredentials(tls, token));

// A model of pictures takes { image: ... }, one of signals { signal: ... }.
const items = files.map((file) => ({ audio: fs.readFileSync(file) }));
client.DetectAnomaly({ model, items }, { deadline: Date.now() + 30000 }, (error, answer) => {
  if (error) {
    console.error(`${grpc.status[error.code]}: ${error.details}`);
    process.exitCode = 1;
  } else {
    answer.items.forEach((item, number) => {
      const said = item.error
        ? `not judged: ${item.error.message}`
        : `${item.is_anomaly ? "ANOMALY" : "normal"}, p-value ${item.p_value.toFixed(4)}, score ${item.score.toFixed(4)}`;
      console.log(`${files[number]}: ${said}`);
    });
  }
  client.close();
});
