// Images made, both forms of an answer, headers and models.
import { client, report } from "./client.mjs";

const made = await client.images.generate({
  model: "gpt-image-2",
  prompt: "A boat",
  size: "1024x1024",
  quality: "low",
  n: 1,
  background: "auto",
  moderation: "auto",
  output_format: "png",
  output_compression: 100,
  partial_images: 0,
  user: "u-1",
});
const { data: linked, response } = await client.images
  .generate({ model: "sandbox/canvas", prompt: "A boat", size: "128x128", n: 2, response_format: "url" })
  .withResponse();
const models = [];
for await (const model of client.models.list()) models.push(model.id);

report({
  png: made.data[0].b64_json,
  size: made.size,
  tokens: made.usage.total_tokens,
  urls: linked.data.map((image) => image.url),
  requestId: linked._request_id,
  header: response.headers.get("x-request-id"),
  models,
  one: (await client.models.retrieve("openai/gpt-image-2")).id,
});
