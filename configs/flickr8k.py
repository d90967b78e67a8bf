"""Show, Attend and Tell with soft attention on Flickr8k, by Karpathy's splits (not run here).

Run: sagan train flickr8k data.dir=FOLDER model.encoder_weights=vgg19-dcbb9e9d.pth
Hardware: one GPU. FOLDER holds dataset.json and the images; the weights are torchvision's.
Expect: the paper (Xu et al. 2015) reports BLEU-1 to 4, without brevity penalty, on the test split
    with beam search: soft attention 67 / 44.8 / 29.9 / 19.5, hard 67 / 45.7 / 31.4 / 21.3. It used
    RMSProp.
"""

from sagan.config import Config, make


def get_config() -> Config:
    return make(
        name="flickr8k",
        task="captioning",
        data=dict(name="karpathy", min_word_count=5),
        model=dict(
            name="show_attend_tell",
            image_size=224,
            encoder="vgg19",
            word_dim=512,
            hidden_dim=1000,
            attention_dim=512,
            dropout=0.5,
            beam=10,
        ),
        optim=dict(learning_rate=2e-4),
        train=dict(steps=20_000, batch_size=64, attention_penalty=1.0, length_buckets=5),
        sample=dict(every_steps=1000),
        checkpoint=dict(every_steps=1000),
        eval=dict(
            every_steps=1000,
            metrics=("bleu", "bleu_paper", "exact_match"),
            num_images=1000,
            best_metric="bleu",
        ),
    )
