// Sends one command through the AWS SDK for JavaScript v3 and prints what came of it as JSON.
// usage: node firehose.mjs COMMAND, with the command's input as JSON on standard input; `Data` is text.
// The client is made without any option: what it needs is in the environment, as in an application.
import {
  DescribeDeliveryStreamCommand,
  FirehoseClient,
  FirehoseServiceException,
  PutRecordBatchCommand,
  PutRecordCommand,
} from "@aws-sdk/client-firehose";
import { readFileSync } from "node:fs";

const commands = {
  PutRecord: PutRecordCommand,
  PutRecordBatch: PutRecordBatchCommand,
  DescribeDeliveryStream: DescribeDeliveryStreamCommand,
};

const input = JSON.parse(readFileSync(0, "utf8"));
const encode = (record) => ({ Data: new TextEncoder().encode(record.Data) });
if (input.Record) input.Record = encode(input.Record);
if (input.Records) input.Records = input.Records.map(encode);

const client = new FirehoseClient();
try {
  const { $metadata, ...answer } = await client.send(new commands[process.argv[2]](input));
  console.log(JSON.stringify({ answer, metadata: $metadata }));
} catch (error) {
  console.log(
    JSON.stringify({
      error: {
        name: error.name,
        class: error.constructor.name,
        message: error.message,
        ofTheService: error instanceof FirehoseServiceException,
      },
      metadata: error.$metadata,
    }),
  );
} finally {
  client.destroy();
}
