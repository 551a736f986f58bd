// Calls a gateway with nothing but the folder of .proto files: node client.js ADDRESS PROTO_FOLDER < calls.json > said.json
//
// A call is {"rpc": name, "request": message}, an answer {"answer": message} or {"code": number, "message": text, "details": []}.
// Bytes are in base64. The details of errors, those of items too, are decoded.
"use strict";

const fs = require("fs");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const [address, folder] = process.argv.slice(2);
const options = { includeDirs: [folder], keepCase: true, longs: String, enums: String, bytes: String, defaults: true };
const files = ["avizor/v1/inference.proto", "google/rpc/error_details.proto"];
const definition = loader.loadSync(files, options);
const { InferenceService } = grpc.loadPackageDefinition(definition).avizor.v1;
const client = new InferenceService(address, grpc.credentials.createInsecure());

// Returns the details of a google.rpc.Status: the name and the message of each.
function details(status) {
  return (status.details || []).map((any) => {
    const type = any.type_url.split("/").pop();
    return { type, value: definition[type].deserialize(Buffer.from(any.value, "base64")) };
  });
}

function ask({ rpc, request }) {
  return new Promise((resolve) => {
    client[rpc](request, { deadline: Date.now() + 30000 }, (error, answer) => {
      if (error) {
        const [bytes] = error.metadata.get("grpc-status-details-bin");
        const status = bytes ? definition["google.rpc.Status"].deserialize(bytes) : {};
        resolve({ code: error.code, message: error.details, details: details(status) });
        return;
      }
      for (const item of answer.items || []) {
        if (item.error) item.error.details = details(item.error);
      }
      resolve({ answer });
    });
  });
}

async function main() {
  const answers = [];
  for (const call of JSON.parse(fs.readFileSync(0, "utf8"))) answers.push(await ask(call));
  const rpcs = Object.values(InferenceService.service).map(({ path, requestStream, responseStream }) => ({
    path,
    requestStream,
    responseStream,
  }));
  process.stdout.write(JSON.stringify({ rpcs, answers }));
  client.close();
}

main();
