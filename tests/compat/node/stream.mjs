// Streams of both routes.
import fs from "node:fs";
import { client, photo, report } from "./client.mjs";

const asked = { model: "sandbox/canvas", prompt: "A boat", size: "128x128", stream: true, partial_images: 2 };

async function events(stream) {
  const found = [];
  for await (const event of stream) {
    found.push({ type: event.type, index: event.partial_image_index, image: event.b64_json });
  }
  return found;
}

report({
  generation: await events(await client.images.generate(asked)),
  edit: await events(await client.images.edit({ ...asked, image: fs.createReadStream(photo) })),
  plain: await events(
    await client.images.generate({ model: "gemini-2.5-flash-image", prompt: "A boat", stream: true }),
  ),
});
