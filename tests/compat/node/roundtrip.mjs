// What the official Node SDK sends and reads; prints one line of JSON.
import fs from "node:fs";
import OpenAI, { toFile } from "openai";

const [baseURL, photo, mask] = process.argv.slice(2);
const client = new OpenAI({ baseURL, apiKey: "any", maxRetries: 0 });
const bytes = (answer) => Buffer.from(answer.data[0].b64_json, "base64").length;

const made = await client.images.generate({ model: "gpt-image-2", prompt: "a boat", size: "1024x1024" });
const linked = await client.images.generate({ model: "gemini-3-pro-image", prompt: "a boat", size: "16:9" });
const streamed = await client.images.edit({
  model: "dall-e-2",
  prompt: "a hat",
  image: fs.createReadStream(photo),
  response_format: "b64_json",
});
const several = await client.images.edit({
  model: "gpt-image-2",
  prompt: "both",
  image: [await toFile(fs.readFileSync(photo), "one.png", { type: "image/png" }), fs.createReadStream(photo)],
  mask: fs.createReadStream(mask),
});
let refused = null;
try {
  await client.images.generate({ model: "gpt-image-1", prompt: "a boat", size: "512x512" });
} catch (error) {
  refused = [error.status, error.param, error.code];
}
const kinds = [];
for await (const event of await client.images.generate({
  model: "gpt-image-2",
  prompt: "a boat",
  stream: true,
  partial_images: 1,
})) {
  kinds.push(event.type);
}
console.log(
  JSON.stringify({
    generated: bytes(made),
    url: linked.data[0].url,
    streamed: bytes(streamed),
    several: bytes(several),
    refused,
    kinds,
  }),
);
