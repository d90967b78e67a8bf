"""Show, Attend and Tell with soft attention on COCO, by Karpathy's splits (not run here).

Run: sagan train coco_captions data.dir=FOLDER model.encoder_weights=vgg19-dcbb9e9d.pth
Hardware: one GPU. FOLDER holds dataset.json and the images; the weights are torchvision's. With
    data.name=tfds_captions/coco_captions it is what sagan prepare coco_captions wrote.
Expect: the paper (Xu et al. 2015) reports BLEU-1 to 4, without brevity penalty, with beam search:
    soft attention 70.7 / 49.2 / 34.4 / 24.3, hard 71.8 / 50.4 / 35.7 / 25.0, with 10,000 words.
"""

from sagan.config import Config, preset, replace


def get_config() -> Config:
    return replace(
        preset("flickr8k"),
        name="coco_captions",
        model=dict(hidden_dim=1800),
        train=dict(steps=100_000),
        eval=dict(every_steps=5000, num_images=5000),
    )
